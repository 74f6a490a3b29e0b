"""Projects are ordered by the bytes of their identifiers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _collate("C")


def downgrade() -> None:
    _collate("default")


def _collate(collation: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite compares bytes
        op.alter_column("project", "id", type_=sa.String(collation=collation))
