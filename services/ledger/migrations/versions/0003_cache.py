"""The cache: entries, what it did for an action, and what runs ask of it; children that their parent cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "cache_entry",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("action_id", INT64, nullable=False),
        sa.Column("stored_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_cache_entry"),
    )
    with op.batch_alter_table("run") as run:
        run.add_column(sa.Column("overwrite_cache", sa.Boolean(), nullable=False, server_default=sa.false()))
        run.add_column(sa.Column("disable_cache", sa.Boolean(), nullable=False, server_default=sa.false()))
        run.add_column(sa.Column("cache_scope", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("action") as action:
        action.add_column(sa.Column("cache_key", sa.String(), nullable=False, server_default=""))
        action.add_column(sa.Column("cache_status", sa.Integer(), nullable=False, server_default="0"))
        action.add_column(sa.Column("cached_from", INT64, nullable=True))
        action.add_column(sa.Column("withdrawn_by", INT64, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("action") as action:
        for name in ("cache_key", "cache_status", "cached_from", "withdrawn_by"):
            action.drop_column(name)
    with op.batch_alter_table("run") as run:
        for name in ("overwrite_cache", "disable_cache", "cache_scope"):
            run.drop_column(name)
    op.drop_table("cache_entry")
