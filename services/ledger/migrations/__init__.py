"""Revisions of the ledger's schema, for Alembic; `services.common.db.migrate` applies them.

A test compares what they make with `services.ledger.tables`: a change there needs a new file in `versions`.
"""

from services.ledger.tables import LedgerModel

TABLES = LedgerModel.metadata
"""What the newest revision makes."""
