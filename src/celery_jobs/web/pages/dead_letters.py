"""The page Dead letters: what they died of, grouped, and the letters themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.states import FinalStatus
from celery_jobs.store.stats import MOST_GROUPED
from celery_jobs.web.filters import read_filter
from celery_jobs.web.page import Page
from celery_jobs.web.pages.list import page_size

if TYPE_CHECKING:
    from celery_jobs.store.stats import ErrorGroup

__all__ = ["DeadLettersPage"]

MOST_GROUPS = 50


class DeadLettersPage(Page):
    """Groups by task and error, and a list by a filter."""

    template = "dead_letters.html"
    tab = "dead-letters"
    most_grouped = MOST_GROUPED

    def read(self, *_: str) -> dict[str, Any]:
        """Both."""
        given = self.given(self.request.query_arguments)
        form = read_filter({**given, "final_status": [FinalStatus.DEAD_LETTERED], "status": []})
        size = page_size(self.query("limit"))
        runs = None if form.errors else self.jobs.list(size, self.query("cursor"), **form.where)
        return {"groups": self.jobs.error_groups(MOST_GROUPS), "runs": runs, "form": form}

    def of_group(self, group: ErrorGroup) -> dict[str, Any]:
        """The filter that means the letters of a group."""
        asked = {"task": group.task, "error_type": group.error_type}
        return {"final_status": str(FinalStatus.DEAD_LETTERED), **{name: said for name, said in asked.items() if said}}
