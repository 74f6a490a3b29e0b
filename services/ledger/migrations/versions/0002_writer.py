"""The writer's lease; keys that pages go by are ordered by their bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERED = {"task_version": ("project", "domain", "name", "version"), "lineage": ("input", "source")}


def upgrade() -> None:
    op.create_table(
        "writer",
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("generation", INT64, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("lease_millis", INT64, nullable=False),
        sa.Column("renewed_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_writer"),
    )
    op.execute(
        "INSERT INTO writer (id, generation, address, lease_millis, renewed_at) "
        "SELECT 1, coalesce(max(number), 0), '', 0, 0 FROM generation"
    )
    _collate("C")


def downgrade() -> None:
    _collate("default")
    op.drop_table("writer")


def _collate(collation: str) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # SQLite compares bytes
    for table, columns in ORDERED.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.String(collation=collation))
