"""Idempotency keys that are free again after a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Timestamp

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("key_expires_at", Timestamp))


def downgrade() -> None:
    op.drop_column("jobs", "key_expires_at")
