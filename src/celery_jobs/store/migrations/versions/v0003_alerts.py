"""Alerts: which dead letters have been told of, and each queue's report that is on its way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Json, Timestamp

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made the column and its index.
    if "alerted_at" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("jobs")}:
        op.add_column("jobs", sa.Column("alerted_at", Timestamp))
    only = sa.text("dead_lettered_at IS NOT NULL AND alerted_at IS NULL")
    op.create_index(
        "jobs_unalerted",
        "jobs",
        ["queue", "dead_lettered_at"],
        postgresql_where=only,
        sqlite_where=only,
        if_not_exists=True,
    )
    op.create_table(
        "alerts",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("next_at", Timestamp, nullable=False),
        sa.Column("leased_until", Timestamp),
        sa.Column("report", Json),
        sa.Column("tries", sa.SmallInteger, nullable=False, server_default="0"),
    )


def downgrade() -> None:
    op.drop_table("alerts")
    op.drop_index("jobs_unalerted", "jobs")
    op.drop_column("jobs", "alerted_at")
