"""Revisions of admin's schema, for Alembic; `services.common.db.migrate` applies them."""

from services.admin.store import AdminModel

TABLES = AdminModel.metadata
"""What the newest revision makes."""
