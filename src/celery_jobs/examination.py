"""The verbs of `Jobs` that look at it all: what is broken, what would have been, whether alerts arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs import alerts, doctor, what_if
from celery_jobs.store import invariants

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.alerts import Delivery
    from celery_jobs.plugin import Plugin
    from celery_jobs.what_if import WhatIf

__all__ = ["Examination"]


class Examination:
    """Whether all is well."""

    _plugin: Plugin

    def what_if(
        self, since: datetime | float = 604_800, queue: str | None = None, within: float = 60, limit: int = 100_000
    ) -> WhatIf:
        """What would have become of the runs created since a moment, or in so many seconds, had retries been on.

        Judged by the policies as they are now; the newest `limit` runs are looked at, 1,000,000 at most. `within`:
        seconds in which the same task with the same arguments is a duplicate. Raises ValueError for a wrong limit.
        """
        return what_if.what_if(self._plugin, since, queue, within, limit)

    def check(self) -> list[invariants.Violation]:
        """What breaks the invariants of semantics.md section 2; an empty list where all is well."""
        return invariants.check(self._plugin.db)

    def examine(self) -> list[doctor.Finding]:
        """What the doctor finds, the worst first, each broken invariant among it; see operating.md, The checks."""
        return doctor.examine(self._plugin)

    def test_alert(self, queue: str | None = None) -> list[Delivery]:
        """Send a test to where the alerts of a queue go; what became of it at each destination.

        None: those of queues without a list of their own. Raises InvalidSettings for none, and without Apprise.
        """
        return alerts.send_test(self._plugin, queue)
