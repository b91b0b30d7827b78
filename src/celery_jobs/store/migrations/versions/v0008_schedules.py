"""Schedules in SQL, and when each of beat's own entries last ticked. No table that is there is touched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.columns import Id, Json, Timestamp

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ticks",
        sa.Column("entry", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("due_at", Timestamp, nullable=False),
        sa.Column("ticked_at", Timestamp, nullable=False),
        sa.Column("job_id", Id, nullable=False),
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("args", Json, nullable=False),
        sa.Column("kwargs", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("cron", sa.Text),
        sa.Column("timezone", sa.Text),
        sa.Column("every", sa.Float),
        sa.Column("missed", sa.Text, nullable=False),
        sa.Column("overlap", sa.Text, nullable=False),
        sa.Column("paused_at", Timestamp),
        sa.Column("paused_by", sa.Text),
        sa.Column("paused_reason", sa.Text),
        sa.Column("next_at", Timestamp),
        sa.Column("last_at", Timestamp),
        sa.Column("last_job_id", Id),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("updated_at", Timestamp, nullable=False),
    )
    only = sa.text("paused_at IS NULL")
    op.create_index("schedules_due", "schedules", ["next_at"], postgresql_where=only, sqlite_where=only)


def downgrade() -> None:
    op.drop_index("schedules_due", "schedules")
    op.drop_table("schedules")
    op.drop_table("ticks")
