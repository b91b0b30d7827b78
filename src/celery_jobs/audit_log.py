"""The verbs of `Jobs` for the audit log: reading it, and asking a long act to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.errors import JobsError
from celery_jobs.ids import parse_id
from celery_jobs.store import audit

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.store.audit import Act

__all__ = ["ActNotFound", "AuditLog"]

MOST_LISTED = 1000


class ActNotFound(JobsError, LookupError):
    """The audit log has no act of this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"no act with the id {id!r}")


class AuditLog:
    """What was done, by whom."""

    _plugin: Plugin

    def acts(
        self,
        limit: int = 50,
        cursor: str | None = None,
        *,
        actor: str | None = None,
        action: str | None = None,
        door: str | None = None,
    ) -> list[Act]:
        """Acts, the newest first, at most `limit` (1 to 1,000); `cursor`: the id of the last of the page before.

        Raises ValueError naming what is wrong.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_LISTED:
            raise ValueError(f"limit must be from 1 to {MOST_LISTED:,}, not {limit!r}")
        before = parse_id(cursor) if cursor is not None else None
        if cursor is not None and before is None:
            raise ValueError(f"cursor: the id of an act is expected, not {cursor!r}")
        asked = {"actor": actor, "action": action, "door": door}
        return audit.read(self._plugin.db, limit, before, {name: said for name, said in asked.items() if said})

    def act(self, id: str) -> Act:
        """The act of an id, also while it goes on; raises ActNotFound."""
        parsed = parse_id(id)
        found = None if parsed is None else audit.find(self._plugin.db, parsed)
        if found is None:
            raise ActNotFound(id)
        return found

    def stop_act(self, id: str) -> Act:
        """Ask a bulk act to stop before its next batch; of one that has ended nothing changes. Raises ActNotFound."""
        audit.stop(self._plugin.db, self.act(id).id)
        return self.act(id)
