"""Indexes for what services and pages search, so that ten million rows cost them nothing.

- `jobs_live` stands in for `jobs_open`, so that an enqueue writes no index more. By `sent_at`, which neither claim nor
  finish changes, the redispatcher finds what was sent long ago among a million that were not sent at all.
- `jobs_expiring`: what waits and has an expiry, in its order. Jobs without one are not in it.
- `jobs_letters`, `jobs_letters_of`: pages of the dead letters, of all and of a queue, and their count. A job is in
  them from its death on.
- `jobs_replays`: the replays of a run. Other jobs are not in it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DEAD = "dead_lettered_at IS NOT NULL"


def upgrade() -> None:
    # On a PostgreSQL with jobs in it `migrations.CONCURRENTLY` has made them, and dropped the one that they replace.
    _index("jobs_live", ["queue", "sent_at"], "finished_at IS NULL")
    _index("jobs_expiring", ["expires_at"], "expires_at IS NOT NULL AND finished_at IS NULL")
    _index("jobs_letters", ["id"], DEAD)
    _index("jobs_letters_of", ["queue", "id"], DEAD)
    _index("jobs_replays", ["replay_of"], "replay_of IS NOT NULL")
    op.drop_index("jobs_open", "jobs", if_exists=True)


def _index(name: str, columns: list[str], where: str) -> None:
    only = sa.text(where)
    op.create_index(name, "jobs", columns, postgresql_where=only, sqlite_where=only, if_not_exists=True)


def downgrade() -> None:
    _index("jobs_open", ["queue", "id"], "finished_at IS NULL")
    for name in ("jobs_replays", "jobs_letters_of", "jobs_letters", "jobs_expiring", "jobs_live"):
        op.drop_index(name, "jobs")
