"""API tokens and the audit log. No table that is there is touched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.columns import Id, Json, Timestamp

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("last4", sa.Text, nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("queues", Json),
        sa.Column("rate", sa.Integer, nullable=False),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("expires_at", Timestamp),
        sa.Column("last_used_at", Timestamp),
        sa.Column("revoked_at", Timestamp),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_table(
        "audit",
        sa.Column("id", Id, primary_key=True),
        sa.Column("at", Timestamp, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("token_id", Id),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", Json, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("matched", sa.BigInteger),
        sa.Column("done", sa.BigInteger),
        sa.Column("skipped", sa.BigInteger),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("updated_at", Timestamp, nullable=False),
        sa.Column("finished_at", Timestamp),
        sa.Column("stop_requested_at", Timestamp),
    )


def downgrade() -> None:
    op.drop_table("audit")
    op.drop_table("tokens")
