"""One act: who did what, how far it is, and a way to stop it."""

from __future__ import annotations

from typing import Any

from celery_jobs.web.filters import FIELDS
from celery_jobs.web.page import Page

__all__ = ["ActPage"]


class ActPage(Page):
    """How far an act is; it goes on whoever looks."""

    template = "act.html"
    tab = "jobs"

    def read(self, *place: str) -> dict[str, Any]:
        """The act, and where to do the rest of it."""
        act = self.jobs.act(place[0])
        verb = act.action.removesuffix("_many")
        target = {name: value for name, value in act.target.items() if name in (*FIELDS, "ids")}
        is_left = act.action.endswith("_many") and (act.is_interrupted or act.result in ("stopped", "failed"))
        again = self.link("/jobs/bulk", verb=verb, **target) if is_left and "ids_count" not in act.target else None
        return {"act": act, "again": again, "goes_on": act.finished_at is None and not act.is_interrupted}

    def act(self, *place: str) -> str:
        """Ask it to stop before its next batch."""
        self.jobs.stop_act(place[0])
        return f"/jobs/acts/{place[0]}"
