"""The first schema: jobs, messages, queues, workers, services."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Id, Json, Timestamp

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("id", Id, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("content_encoding", sa.Text, nullable=False),
        sa.Column("compression", sa.Text),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("delivery_mode", sa.SmallInteger),
    )
    op.create_table(
        "jobs",
        sa.Column("id", Id, primary_key=True),
        sa.Column("original_id", Id, nullable=False),
        sa.Column("message_id", Id, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("nesting", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("reuse", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt_number", sa.Integer, nullable=False, server_default="1"),
        sa.Column("retries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("policy_retries", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.SmallInteger, nullable=False),
        sa.Column("retries_enabled", sa.Boolean, nullable=False),
        sa.Column("retry_policy", Json),
        sa.Column("is_retry", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("has_pending_retry", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tags", Json),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("final_status", sa.Text),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("scheduled_at", Timestamp, nullable=False),
        sa.Column("expires_at", Timestamp),
        sa.Column("sent_at", Timestamp),
        sa.Column("send_count", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("worker", Id),
        sa.Column("lease_token", Id),
        sa.Column("lease_expires_at", Timestamp),
        sa.Column("losses", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("started_at", Timestamp),
        sa.Column("finished_at", Timestamp),
        sa.Column("ended_at", Timestamp),
        sa.Column("cancel_requested_at", Timestamp),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("result", sa.Text),
        sa.Column("response_status", sa.SmallInteger),
        sa.Column("failure_reason", sa.Text),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("last_error_type", sa.Text),
        sa.Column("last_error_message", sa.Text),
        sa.Column("idempotency_scope", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("concurrency_key", sa.Text),
        sa.Column("concurrency_limit", sa.Integer),
        sa.Column("callback_url", sa.Text),
        sa.Column("callback_state", sa.Text),
        sa.Column("callback_status", sa.SmallInteger),
        sa.Column("callback_error", sa.Text),
        sa.Column("callback_at", Timestamp),
        sa.Column("dead_lettered_at", Timestamp),
        sa.Column("replay_of", Id),
        sa.Column("replay_reason", sa.Text),
        sa.Column("replayed_at", Timestamp),
        sa.Column("replayed_as", Id),
        sa.Column("replaced_by", Id),
        sa.Column("resolved_by", Id),
        sa.Column("untold_at", Timestamp),
        postgresql_with={"fillfactor": "60", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_table(
        "queues",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("paused_at", Timestamp),
        sa.Column("paused_until", Timestamp),
        sa.Column("paused_by", sa.Text),
        sa.Column("paused_reason", sa.Text),
    )
    op.create_table(
        "workers",
        sa.Column("id", Id, primary_key=True),
        sa.Column("hostname", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("queues", Json, nullable=False),
        sa.Column("started_at", Timestamp, nullable=False),
        sa.Column("heartbeat_at", Timestamp, nullable=False),
        sa.Column("dead_at", Timestamp),
    )
    op.create_table(
        "services",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("ran_at", Timestamp, nullable=False),
        sa.Column("duration_ms", sa.Float),
        sa.Column("handled", sa.BigInteger),
    )
    _index("jobs_attempts", ["original_id", "attempt_number"], "attempt_number > 1")
    op.create_index("jobs_chain", "jobs", ["task_id", "nesting", "reuse", "attempt_number"], unique=True)
    _index("jobs_dead", ["dead_lettered_at", "id"], "dead_lettered_at IS NOT NULL")
    _index("jobs_ended", ["ended_at", "id"], "ended_at IS NOT NULL")
    _index(
        "jobs_idempotency",
        ["idempotency_scope", "idempotency_key"],
        "idempotency_key IS NOT NULL",
        unique=True,
    )
    _index("jobs_open", ["queue", "id"], "finished_at IS NULL")
    _index("jobs_unsent", ["queue", "scheduled_at"], "sent_at IS NULL AND finished_at IS NULL")
    _index("jobs_untold", ["untold_at"], "untold_at IS NOT NULL")


def _index(name: str, columns: list[str], where: str, unique: bool = False) -> None:
    only = sa.text(where)
    op.create_index(name, "jobs", columns, unique=unique, postgresql_where=only, sqlite_where=only)


def downgrade() -> None:
    for table in ("services", "workers", "queues", "jobs", "messages"):
        op.drop_table(table)
