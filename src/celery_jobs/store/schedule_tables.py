"""The tables of schedules, and of when the entries of beat have ticked."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Table, Text, text

from celery_jobs.store.columns import Id, Json, Timestamp, metadata

__all__ = ["schedules", "ticks"]

unpaused = text("paused_at IS NULL")

ticks = Table(
    "ticks",
    metadata,
    Column("entry", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("due_at", Timestamp, nullable=False),
    Column("ticked_at", Timestamp, nullable=False),
    Column("job_id", Id, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("args", Json, nullable=False),
    Column("kwargs", Json, nullable=False),
    Column("options", Json, nullable=False),
    Column("cron", Text),
    Column("timezone", Text),
    Column("every", Float),
    Column("missed", Text, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("paused_at", Timestamp),
    Column("paused_by", Text),
    Column("paused_reason", Text),
    Column("next_at", Timestamp),
    Column("last_at", Timestamp),
    Column("last_job_id", Id),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    Index("schedules_due", "next_at", postgresql_where=unpaused, sqlite_where=unpaused),
)
