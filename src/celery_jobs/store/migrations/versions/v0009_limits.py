"""Limits on what runs at once and on what starts in a time.

- `places`, `starts`: who runs under a limit, what has started in a queue with a rate.
- `jobs_limited`, `jobs_woken`: what waits for a limit, in its order, and what was sent as its turn had come.
- `jobs_to_send` and `jobs_to_pull` stand in for `jobs_held` and `jobs_pulled`, without what waits for a limit, in the
  order in which it is to start.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Id, Timestamp

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY_RANK = ["queue", "priority", "scheduled_at", "id"]


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made the column and the indexes.
    if "waits_for" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("jobs")}:
        op.add_column("jobs", sa.Column("waits_for", sa.Text))
    unsent = "sent_at IS NULL AND finished_at IS NULL"
    _index("jobs_to_send", BY_RANK, f"{unsent} AND task IS NOT NULL AND waits_for IS NULL")
    _index("jobs_to_pull", BY_RANK, "task IS NULL AND finished_at IS NULL AND waits_for IS NULL")
    by_limit = ["waits_for", sa.text("priority DESC"), "scheduled_at", "id"]
    _index("jobs_limited", by_limit, f"waits_for IS NOT NULL AND {unsent}")
    woken = "waits_for IS NOT NULL AND sent_at IS NOT NULL AND finished_at IS NULL"
    _index("jobs_woken", ["waits_for", "sent_at"], woken)
    for name in ("jobs_held", "jobs_pulled"):
        op.drop_index(name, "jobs", if_exists=True)
    op.create_table(
        "places",
        sa.Column("limit_name", sa.Text, primary_key=True),
        sa.Column("job_id", Id, primary_key=True),
        sa.Column("lease_token", Id),
    )
    op.create_table(
        "starts",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("started_at", Timestamp, primary_key=True),
        sa.Column("job_id", Id, primary_key=True),
    )


def _index(name: str, columns: list[Any], where: str) -> None:
    only = sa.text(where)
    op.create_index(name, "jobs", columns, postgresql_where=only, sqlite_where=only, if_not_exists=True)


def downgrade() -> None:
    op.drop_table("starts")
    op.drop_table("places")
    _index("jobs_held", ["queue", "scheduled_at"], "sent_at IS NULL AND finished_at IS NULL AND task IS NOT NULL")
    _index("jobs_pulled", BY_RANK, "task IS NULL AND finished_at IS NULL")
    for name in ("jobs_woken", "jobs_limited", "jobs_to_pull", "jobs_to_send"):
        op.drop_index(name, "jobs")
    op.drop_column("jobs", "waits_for")
