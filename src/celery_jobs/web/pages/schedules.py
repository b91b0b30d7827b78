"""The page Schedules: what is made when, what came of it last, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError

from celery_jobs.schedules import enqueued_by
from celery_jobs.tokens import Scope
from celery_jobs.web.filters import quoted
from celery_jobs.web.page import Page
from celery_jobs.words import span

if TYPE_CHECKING:
    from celery_jobs.store.schedules import Schedule

__all__ = ["SchedulesPage"]

ACTS = {"run": Scope.OPERATE, "pause": Scope.OPERATE, "resume": Scope.OPERATE, "remove": Scope.ADMIN}


class SchedulesPage(Page):
    """Schedules in SQL, and beat's own entries to look at."""

    template = "schedules.html"
    tab = "schedules"

    def read(self, *_: str) -> dict[str, Any]:
        """Both."""
        beat = dict(self.plugin.app.conf.beat_schedule or {})
        entries = [(str(name), str(entry.get("task")), _said(entry.get("schedule"))) for name, entry in beat.items()]
        return {
            "schedules": self.jobs.schedules(),
            "entries": sorted(entries),
            "when": when,
            "enqueued_by": lambda name: quoted(enqueued_by(name)),
        }

    def act(self, *_: str) -> str:
        """Run, pause, resume or remove one."""
        name, asked = self.field("name"), self.field("do")
        if asked not in ACTS:
            raise ValueError(f"do: one of {', '.join(ACTS)} is expected, not {asked[:50]!r}")
        if not self.may(ACTS[asked]):
            raise HTTPError(403, f"{self.grant.name} may not: the scope {ACTS[asked]} is needed")
        self.jobs.reason = self.reason
        if asked == "run":
            return f"/jobs/{self.jobs.run_schedule(name).id}"
        if asked == "pause":
            self.jobs.pause_schedule(name, by=self.grant.name, reason=self.reason)
        elif asked == "resume":
            self.jobs.resume_schedule(name)
        else:
            self.jobs.remove_schedule(name)
        self.notify(f"the schedule {name} is {DONE[asked]}")
        return "/jobs/schedules"


DONE = {"pause": "paused", "resume": "resumed", "remove": "removed; the jobs that it has made stay"}


def when(schedule: Schedule) -> str:
    """When it ticks."""
    if schedule.every is not None:
        return f"every {span(schedule.every)}"
    return f"{schedule.cron} ({schedule.timezone})"


def _said(schedule: Any) -> str:
    """An entry's schedule, as beat has it."""
    return f"every {span(float(schedule))}" if isinstance(schedule, int | float) else str(schedule)
