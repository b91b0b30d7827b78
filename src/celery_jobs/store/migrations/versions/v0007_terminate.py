"""Which running jobs are to be killed; a job of which nobody asks it is not in the index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Timestamp

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made the column and its index.
    if "terminate_requested_at" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("jobs")}:
        op.add_column("jobs", sa.Column("terminate_requested_at", Timestamp))
    only = sa.text("terminate_requested_at IS NOT NULL AND finished_at IS NULL")
    op.create_index("jobs_terminating", "jobs", ["id"], postgresql_where=only, sqlite_where=only, if_not_exists=True)


def downgrade() -> None:
    op.drop_index("jobs_terminating", "jobs")
    op.drop_column("jobs", "terminate_requested_at")
