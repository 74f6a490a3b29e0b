"""Revisions of the image builder's schema, for Alembic; `services.common.db.migrate` applies them."""
