"""The tables (semantics.md sections 1, 2 and 11). No index names `status`: that would forbid HOT updates."""

from __future__ import annotations

import sqlalchemy.orm  # noqa: F401 - while a thread imports it, another cannot compare a column with a StrEnum
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from celery_jobs.store.access_tables import audit, tokens
from celery_jobs.store.columns import Id, Json, Timestamp, metadata
from celery_jobs.store.schedule_tables import schedules, ticks

__all__ = [
    "Id",
    "Json",
    "Timestamp",
    "alerts",
    "audit",
    "jobs",
    "messages",
    "metadata",
    "places",
    "queues",
    "responses",
    "schedules",
    "services",
    "starts",
    "tagged",
    "ticks",
    "to_be_killed",
    "tokens",
    "unalerted",
    "unsent_callback",
    "workers",
]

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("content_encoding", Text, nullable=False),
    Column("compression", Text),
    Column("headers", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("delivery_mode", SmallInteger),
)

unsent_callback = text("callback_state IN ('due', 'sending')")
"""Word for word what the index says: with values of its own a query would not be known to be covered by it."""

unalerted = text("dead_lettered_at IS NOT NULL AND alerted_at IS NULL")
"""The same of dead letters that nobody was told of."""

tagged = text("tags IS NOT NULL AND attempt_number = 1")
"""The same of jobs that are found by their tags."""

to_be_killed = text("terminate_requested_at IS NOT NULL AND finished_at IS NULL")
"""The same of what runs and is to be killed."""

expiring = text("expires_at IS NOT NULL AND finished_at IS NULL")
dead = text("dead_lettered_at IS NOT NULL")
ended = text("ended_at IS NOT NULL")
live = text("finished_at IS NULL")
retried = text("attempt_number > 1")
untold = text("untold_at IS NOT NULL")
is_replay = text("replay_of IS NOT NULL")
to_send = text("sent_at IS NULL AND finished_at IS NULL AND task IS NOT NULL AND waits_for IS NULL")
to_pull = text("task IS NULL AND finished_at IS NULL AND waits_for IS NULL")
limited = text("waits_for IS NOT NULL AND sent_at IS NULL AND finished_at IS NULL")
woken = text("waits_for IS NOT NULL AND sent_at IS NOT NULL AND finished_at IS NULL")
_by_turn = ("waits_for", text("priority DESC"), "scheduled_at", "id")
leased = text("claimed_by IS NOT NULL AND finished_at IS NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("original_id", Id, nullable=False),
    Column("message_id", Id, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("nesting", SmallInteger, nullable=False, server_default="0"),
    Column("reuse", Integer, nullable=False, server_default="0"),
    Column("attempt_number", Integer, nullable=False, server_default="1"),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("policy_retries", SmallInteger, nullable=False, server_default="0"),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("retries_enabled", Boolean, nullable=False),
    Column("retry_policy", Json),
    Column("is_retry", Boolean, nullable=False, server_default=text("false")),
    Column("has_pending_retry", Boolean, nullable=False, server_default=text("false")),
    Column("queue", Text, nullable=False),
    Column("task", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("tags", Json),
    Column("status", Text, nullable=False),
    Column("final_status", Text),
    Column("created_at", Timestamp, nullable=False),
    Column("scheduled_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp),
    Column("sent_at", Timestamp),
    Column("send_count", SmallInteger, nullable=False, server_default="0"),
    Column("worker", Id),
    Column("lease_token", Id),
    Column("lease_expires_at", Timestamp),
    Column("losses", SmallInteger, nullable=False, server_default="0"),
    Column("started_at", Timestamp),
    Column("finished_at", Timestamp),
    Column("ended_at", Timestamp),
    Column("cancel_requested_at", Timestamp),
    Column("terminate_requested_at", Timestamp),
    Column("duration_ms", BigInteger),
    Column("result", Text),
    Column("response_status", SmallInteger),
    Column("failure_reason", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("traceback", Text),
    Column("last_error_type", Text),
    Column("last_error_message", Text),
    Column("idempotency_scope", Text),
    Column("idempotency_key", Text),
    Column("concurrency_key", Text),
    Column("concurrency_limit", Integer),
    Column("callback_url", Text),
    Column("callback_state", Text),
    Column("callback_status", SmallInteger),
    Column("callback_error", Text),
    Column("callback_at", Timestamp),
    Column("callback_tries", SmallInteger, nullable=False, server_default="0"),
    Column("callback_duration_ms", Integer),
    Column("dead_lettered_at", Timestamp),
    Column("alerted_at", Timestamp),
    Column("replay_of", Id),
    Column("replay_reason", Text),
    Column("replayed_at", Timestamp),
    Column("replayed_as", Id),
    Column("replaced_by", Id),
    Column("resolved_by", Id),
    Column("untold_at", Timestamp),
    Column("claimed_by", Text),
    Column("lease_duration", Float),
    Column("waits_for", Text),
    Column("followed", Boolean, nullable=False, server_default=text("false")),
    Column("key_expires_at", Timestamp),
    Column("edition", SmallInteger, nullable=False, server_default="0"),
    Column("replaced_at", Timestamp),
    Column("erased_at", Timestamp),
    Index("jobs_chain", "task_id", "nesting", "reuse", "attempt_number", unique=True),
    Index("jobs_attempts", "original_id", "attempt_number", postgresql_where=retried, sqlite_where=retried),
    Index("jobs_to_send", "queue", "priority", "scheduled_at", "id", postgresql_where=to_send, sqlite_where=to_send),
    Index("jobs_to_pull", "queue", "priority", "scheduled_at", "id", postgresql_where=to_pull, sqlite_where=to_pull),
    Index("jobs_limited", *_by_turn, postgresql_where=limited, sqlite_where=limited),
    Index("jobs_woken", "waits_for", "sent_at", postgresql_where=woken, sqlite_where=woken),
    Index("jobs_leased", "queue", postgresql_where=leased, sqlite_where=leased),
    Index("jobs_live", "queue", "sent_at", postgresql_where=live, sqlite_where=live),
    Index("jobs_expiring", "expires_at", postgresql_where=expiring, sqlite_where=expiring),
    Index("jobs_terminating", "id", postgresql_where=to_be_killed, sqlite_where=to_be_killed),
    Index("jobs_dead", "dead_lettered_at", "id", postgresql_where=dead, sqlite_where=dead),
    Index("jobs_letters", "id", postgresql_where=dead, sqlite_where=dead),
    Index("jobs_letters_of", "queue", "id", postgresql_where=dead, sqlite_where=dead),
    Index("jobs_replays", "replay_of", postgresql_where=is_replay, sqlite_where=is_replay),
    Index("jobs_unalerted", "queue", "dead_lettered_at", postgresql_where=unalerted, sqlite_where=unalerted),
    Index(
        "jobs_idempotency",
        "idempotency_scope",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
        sqlite_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("jobs_ended", "ended_at", "id", postgresql_where=ended, sqlite_where=ended),
    Index("jobs_untold", "untold_at", postgresql_where=untold, sqlite_where=untold),
    Index("jobs_callbacks", "callback_at", postgresql_where=unsent_callback, sqlite_where=unsent_callback),
    # SQLite has no index of what is inside JSON.
    Index("jobs_tags", "tags", postgresql_using="gin", postgresql_where=tagged).ddl_if(dialect="postgresql"),
    # Rows keep room for their updates, which then touch no index (HOT).
    postgresql_with={"fillfactor": "60", "autovacuum_vacuum_scale_factor": "0.02"},
)

responses = Table(
    "responses",
    metadata,
    # An older process, which does not know them, deletes them too.
    Column("id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("status", SmallInteger, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("truncated", Boolean, nullable=False),
)

queues = Table(
    "queues",
    metadata,
    Column("name", Text, primary_key=True),
    Column("paused_at", Timestamp),
    Column("paused_until", Timestamp),
    Column("paused_by", Text),
    Column("paused_reason", Text),
)

places = Table(
    "places",
    metadata,
    Column("limit_name", Text, primary_key=True),
    Column("job_id", Id, primary_key=True),
    Column("lease_token", Id),
)
"""Who runs under a limit, as long as the job runs with this token; without one, who has its turn and waits for more.

Every end of a claim frees the places of it, whoever writes it: no row here says so.
"""

starts = Table(
    "starts",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("started_at", Timestamp, primary_key=True),
    Column("job_id", Id, primary_key=True),
)
"""What has started in a queue with a rate limit, as far back as its window."""

alerts = Table(
    "alerts",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("next_at", Timestamp, nullable=False),
    Column("leased_until", Timestamp),
    Column("report", Json),
    Column("tries", SmallInteger, nullable=False, server_default="0"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queues", Json, nullable=False),
    Column("started_at", Timestamp, nullable=False),
    Column("heartbeat_at", Timestamp, nullable=False),
    Column("dead_at", Timestamp),
)

services = Table(
    "services",
    metadata,
    Column("name", Text, primary_key=True),
    Column("ran_at", Timestamp, nullable=False),
    Column("duration_ms", Float),
    Column("handled", BigInteger),
)
