"""Outside workers: who has claimed a job without a task, for how long at a time, and indexes of such jobs.

- `jobs_pulled`: what waits, by queue, priority and due time. Celery's jobs are not in it.
- `jobs_leased`: what is claimed. A claim of Celery's does not change `claimed_by`, so it stays an update within a page.
- `jobs_held` stands in for `jobs_unsent`, without what is never sent: a deep queue of it costs the services nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made the first column and the indexes.
    if "claimed_by" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("jobs")}:
        op.add_column("jobs", sa.Column("claimed_by", sa.Text))
    op.add_column("jobs", sa.Column("lease_duration", sa.Float))
    if "jobs_to_send" not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("jobs")}:
        # Where it is, what stands in for these two has been built already.
        _index("jobs_held", ["queue", "scheduled_at"], "sent_at IS NULL AND finished_at IS NULL AND task IS NOT NULL")
        _index("jobs_pulled", ["queue", "priority", "scheduled_at", "id"], "task IS NULL AND finished_at IS NULL")
    _index("jobs_leased", ["queue"], "claimed_by IS NOT NULL AND finished_at IS NULL")
    op.drop_index("jobs_unsent", "jobs", if_exists=True)


def _index(name: str, columns: list[str], where: str) -> None:
    only = sa.text(where)
    op.create_index(name, "jobs", columns, postgresql_where=only, sqlite_where=only, if_not_exists=True)


def downgrade() -> None:
    _index("jobs_unsent", ["queue", "scheduled_at"], "sent_at IS NULL AND finished_at IS NULL")
    for name in ("jobs_leased", "jobs_pulled", "jobs_held"):
        op.drop_index(name, "jobs")
    op.drop_column("jobs", "lease_duration")
    op.drop_column("jobs", "claimed_by")
