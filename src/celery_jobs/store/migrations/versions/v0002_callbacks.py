"""Callbacks: how often they were tried, how long the answer took, which are to be sent. Responses to HTTP jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Id, Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("callback_tries", sa.SmallInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("callback_duration_ms", sa.Integer))
    only = sa.text("callback_state IN ('due', 'sending')")
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made it.
    op.create_index(
        "jobs_callbacks", "jobs", ["callback_at"], postgresql_where=only, sqlite_where=only, if_not_exists=True
    )
    op.create_table(
        "responses",
        sa.Column("id", Id, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("responses")
    op.drop_index("jobs_callbacks", "jobs")
    op.drop_column("jobs", "callback_duration_ms")
    op.drop_column("jobs", "callback_tries")
