"""Revisions of admin's schema, for Alembic; `services.common.db.migrate` applies them."""
