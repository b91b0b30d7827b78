"""`jobs_tags`: runs by their tags, on PostgreSQL. Jobs without tags are not in it, nor are retries.

Tags never change, so that an update of a row leaves it alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made it. SQLite has no index of what is inside JSON.
    if _is_postgresql():
        only = sa.text("tags IS NOT NULL AND attempt_number = 1")
        op.create_index(
            "jobs_tags", "jobs", ["tags"], postgresql_using="gin", postgresql_where=only, if_not_exists=True
        )


def downgrade() -> None:
    if _is_postgresql():
        op.drop_index("jobs_tags", "jobs")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
