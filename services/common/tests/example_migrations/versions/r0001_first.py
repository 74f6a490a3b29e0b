"""Makes the parent table."""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision: str | None = None


def upgrade() -> None:
    """Applies it."""
    op.create_table("parent", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    """Takes it back."""
    op.drop_table("parent")
