"""The first schema of the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "action",
        sa.Column("failure_kind", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=False),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("failure_traceback", sa.Text(), nullable=False),
        sa.Column("failure_non_recoverable", sa.Boolean(), nullable=False),
        sa.Column("failure_worker", sa.String(), nullable=False),
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("run_id", INT64, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("parent_id", INT64, nullable=True),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("sequence", INT64, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("task_name", sa.String(), nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("group_name", sa.String(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("wait_reason", sa.Text(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("started_at", INT64, nullable=True),
        sa.Column("ended_at", INT64, nullable=True),
        sa.Column("abort_reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("user_failures", sa.Integer(), nullable=False),
        sa.Column("system_failures", sa.Integer(), nullable=False),
        sa.Column("ready_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_action"),
    )
    op.create_index(
        "ix_action_live",
        "action",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_action_parent", "action", ["parent_id"])
    op.create_index("uq_action_name", "action", ["run_id", "name"], unique=True)
    op.create_index("uq_action_sequence", "action", ["run_id", "sequence"], unique=True)
    op.create_table(
        "action_input",
        sa.Column("inline", sa.LargeBinary(), nullable=True),
        sa.Column("blob_key", sa.Text(), nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("action_id", INT64, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("action_id", name="pk_action_input"),
    )
    op.create_table(
        "action_output",
        sa.Column("inline", sa.LargeBinary(), nullable=True),
        sa.Column("blob_key", sa.Text(), nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("action_id", INT64, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("action_id", name="pk_action_output"),
    )
    op.create_table(
        "attempt",
        sa.Column("failure_kind", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=False),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("failure_traceback", sa.Text(), nullable=False),
        sa.Column("failure_non_recoverable", sa.Boolean(), nullable=False),
        sa.Column("failure_worker", sa.String(), nullable=False),
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("action_id", INT64, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("user_attempt", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("worker_id", INT64, nullable=False),
        sa.Column("pool_key", sa.Text(), nullable=False),
        sa.Column("gpu_uuids", sa.JSON(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("assigned_at", INT64, nullable=False),
        sa.Column("started_at", INT64, nullable=True),
        sa.Column("ended_at", INT64, nullable=True),
        sa.Column("span_id", sa.String(length=16), nullable=False),
        sa.Column("parent_span_id", sa.String(length=16), nullable=False),
        sa.Column("peak_memory_bytes", INT64, nullable=False),
        sa.Column("cpu_millis", INT64, nullable=False),
        sa.Column("ended_cursor", INT64, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
    )
    op.create_index("ix_attempt_action", "attempt", ["action_id", "number"])
    op.create_index("ix_attempt_ended", "attempt", ["ended_cursor"])
    op.create_index(
        "ix_attempt_live",
        "attempt",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "event",
        sa.Column("cursor", INT64, autoincrement=False, nullable=False),
        sa.Column("run_id", INT64, nullable=False),
        sa.Column("action_id", INT64, nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("occurred_at", INT64, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("cursor", name="pk_event"),
    )
    op.create_index("ix_event_action", "event", ["action_id", "cursor"])
    op.create_index("ix_event_run", "event", ["run_id", "cursor"])
    op.create_table(
        "generation",
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("number", INT64, nullable=False),
        sa.Column("started_at", INT64, nullable=False),
        sa.Column("batch", INT64, nullable=False),
        sa.Column("next_run_id", INT64, nullable=False),
        sa.Column("next_action_id", INT64, nullable=False),
        sa.Column("next_lease_id", INT64, nullable=False),
        sa.Column("next_worker_id", INT64, nullable=False),
        sa.Column("next_cursor", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
    )
    op.create_table(
        "lineage",
        sa.Column("action_id", INT64, autoincrement=False, nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("action_id", "input", "source", name="pk_lineage"),
    )
    op.create_table(
        "log_chunk",
        sa.Column("lease_id", INT64, autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("blob_key", sa.Text(), nullable=False),
        sa.Column("size", INT64, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("first_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("lease_id", "index", name="pk_log_chunk"),
    )
    op.create_table(
        "node",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("inventory", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("changed_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_node"),
    )
    op.create_table(
        "run",
        sa.Column("failure_kind", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=False),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("failure_traceback", sa.Text(), nullable=False),
        sa.Column("failure_non_recoverable", sa.Boolean(), nullable=False),
        sa.Column("failure_worker", sa.String(), nullable=False),
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("root_id", INT64, nullable=False),
        sa.Column("task_name", sa.String(), nullable=False),
        sa.Column("task_version", sa.String(), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("started_at", INT64, nullable=True),
        sa.Column("ended_at", INT64, nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("env_vars", sa.JSON(), nullable=False),
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("parent_span_id", sa.String(length=16), nullable=False),
        sa.Column("abort_reason", sa.Text(), nullable=False),
        sa.Column("action_count", INT64, nullable=False),
        sa.Column("cursor", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_changed", "run", ["project", "domain", "cursor"])
    op.create_index(
        "ix_run_live",
        "run",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_run_newest", "run", ["project", "domain", "id"])
    op.create_index("uq_run_name", "run", ["project", "domain", "name"], unique=True)
    op.create_table(
        "run_label",
        sa.Column("run_id", INT64, autoincrement=False, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key", name="pk_run_label"),
    )
    op.create_index("ix_run_label_value", "run_label", ["key", "value", "run_id"])
    op.create_table(
        "span_export",
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("cursor", INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_span_export"),
    )
    op.create_table(
        "task_spec",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("spec", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("short_name", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("module", sa.String(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_task_spec"),
    )
    op.create_table(
        "task_version",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("id", INT64, nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.PrimaryKeyConstraint("project", "domain", "name", "version", name="pk_task_version"),
    )
    op.create_index("ix_task_version_newest", "task_version", ["project", "domain", "name", "id"])
    op.create_table(
        "worker",
        sa.Column("id", INT64, autoincrement=False, nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("pool_key", sa.Text(), nullable=False),
        sa.Column("spec_digest", sa.String(), nullable=False),
        sa.Column("gpu_uuids", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", INT64, nullable=False),
        sa.Column("ended_at", INT64, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )
    op.create_index(
        "ix_worker_live",
        "worker",
        ["id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_worker_live",
        table_name="worker",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_table("worker")
    op.drop_index("ix_task_version_newest", table_name="task_version")
    op.drop_table("task_version")
    op.drop_table("task_spec")
    op.drop_table("span_export")
    op.drop_index("ix_run_label_value", table_name="run_label")
    op.drop_table("run_label")
    op.drop_index("uq_run_name", table_name="run")
    op.drop_index("ix_run_newest", table_name="run")
    op.drop_index(
        "ix_run_live",
        table_name="run",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index("ix_run_changed", table_name="run")
    op.drop_table("run")
    op.drop_table("node")
    op.drop_table("log_chunk")
    op.drop_table("lineage")
    op.drop_table("generation")
    op.drop_index("ix_event_run", table_name="event")
    op.drop_index("ix_event_action", table_name="event")
    op.drop_table("event")
    op.drop_index(
        "ix_attempt_live",
        table_name="attempt",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index("ix_attempt_ended", table_name="attempt")
    op.drop_index("ix_attempt_action", table_name="attempt")
    op.drop_table("attempt")
    op.drop_table("action_output")
    op.drop_table("action_input")
    op.drop_index("uq_action_sequence", table_name="action")
    op.drop_index("uq_action_name", table_name="action")
    op.drop_index("ix_action_parent", table_name="action")
    op.drop_index(
        "ix_action_live",
        table_name="action",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_table("action")
