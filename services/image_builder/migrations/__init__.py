"""Revisions of the image builder's schema, for Alembic; `services.common.db.migrate` applies them."""

from services.image_builder.store import BuilderModel

TABLES = BuilderModel.metadata
"""What the newest revision makes."""
