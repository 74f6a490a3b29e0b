"""Revisions of the ledger's schema, for Alembic; `services.common.db.migrate` applies them.

A test compares what they make with `services.ledger.tables`: a change there needs a new file in `versions`.
"""
