"""Which runs somebody follows: on PostgreSQL a change of their rows is told on a channel of the run's own.

The condition stands in the trigger's WHEN: of a row that nobody follows the server calls nothing, and its transaction
takes no lock for a notification.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE OR REPLACE FUNCTION jobs_tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('celery_jobs_' || replace(NEW.original_id::text, '-', ''), '');
    RETURN NULL;
END $$
"""

TRIGGER = """
CREATE TRIGGER jobs_followed AFTER INSERT OR UPDATE ON jobs
FOR EACH ROW WHEN (NEW.followed) EXECUTE FUNCTION jobs_tell_followers()
"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("followed", sa.Boolean, nullable=False, server_default=sa.text("false")))
    if _is_postgresql():
        op.execute(FUNCTION)
        op.execute(TRIGGER)


def downgrade() -> None:
    if _is_postgresql():
        op.execute("DROP TRIGGER jobs_followed ON jobs")
        op.execute("DROP FUNCTION jobs_tell_followers()")
    op.drop_column("jobs", "followed")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
