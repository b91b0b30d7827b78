"""Idempotency keys that are free again after a time, and jobs that are replaced while they wait.

`edition`: how often. An older worker claims any; what it is sent then is one message too many, or one too old.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.tables import Timestamp

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("key_expires_at", Timestamp))
    op.add_column("jobs", sa.Column("edition", sa.SmallInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("replaced_at", Timestamp))


def downgrade() -> None:
    for name in ("replaced_at", "edition", "key_expires_at"):
        op.drop_column("jobs", name)
