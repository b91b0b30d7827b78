"""When what a run holds of others' data was erased. Older processes do not know it, and cannot read what is left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from celery_jobs.store.columns import Timestamp

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("erased_at", Timestamp))


def downgrade() -> None:
    op.drop_column("jobs", "erased_at")
