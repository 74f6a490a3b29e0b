"""The programming model: kinds and settings of actions, notifications, deployed tasks, reasons of the cache."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERED = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("run") as run:
        run.add_column(sa.Column("settings", sa.LargeBinary(), nullable=True))
        run.add_column(sa.Column("recovers", INT64, nullable=True))
    with op.batch_alter_table("action") as action:
        action.add_column(sa.Column("kind", sa.Integer(), nullable=False, server_default="1"))
        action.add_column(sa.Column("custom_context", sa.Text(), nullable=False, server_default=""))
        action.add_column(sa.Column("cache_reason", sa.Text(), nullable=False, server_default=""))
        action.add_column(sa.Column("progress", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "notification",
        sa.Column("cursor", INT64, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", INT64, nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("occurred_at", INT64, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", INT64, nullable=False),
        sa.Column("ended_at", INT64, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("cursor", "number", name="pk_notification"),
    )
    condition = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_notification_live", "notification", ["cursor"], sqlite_where=condition, postgresql_where=condition
    )
    op.create_table(
        "deployed_task",
        sa.Column("project", ORDERED, nullable=False),
        sa.Column("domain", ORDERED, nullable=False),
        sa.Column("name", ORDERED, nullable=False),
        sa.Column("version", ORDERED, nullable=False),
        sa.Column("id", INT64, nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("entrypoint", sa.Boolean(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("deployed_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name", "version", name="pk_deployed_task"),
    )
    op.create_table(
        "worker_image",
        sa.Column("worker_id", INT64, autoincrement=False, nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_worker_image"),
    )
    op.create_index("ix_deployed_task_newest", "deployed_task", ["project", "domain", "name", "id"])


def downgrade() -> None:
    op.drop_table("worker_image")
    op.drop_table("deployed_task")
    op.drop_table("notification")
    with op.batch_alter_table("action") as action:
        for name in ("kind", "custom_context", "cache_reason", "progress"):
            action.drop_column(name)
    with op.batch_alter_table("run") as run:
        for name in ("settings", "recovers"):
            run.drop_column(name)
