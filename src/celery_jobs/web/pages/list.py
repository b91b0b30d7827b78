"""The page Jobs: runs by a filter that stands in the address, newest first, page by page."""

from __future__ import annotations

from typing import Any

from celery_jobs.errors import AmbiguousId, JobNotFound
from celery_jobs.states import FinalStatus, Status
from celery_jobs.web.filters import FilterForm, read_filter
from celery_jobs.web.page import Elsewhere, Page

__all__ = ["ListPage", "page_size"]

SIZE, LARGEST = 50, 200

STATES = (
    Status.PENDING,
    Status.PROCESSING,
    FinalStatus.RETRYING,
    FinalStatus.SUCCESS,
    FinalStatus.DEAD_LETTERED,
    FinalStatus.FAILED_NO_RETRIES,
    Status.CANCELLED,
)
"""Those that the page has a button for."""


def page_size(text: str | None) -> int:
    """Rows of a page; raises ValueError for what is none."""
    if text is None:
        return SIZE
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= LARGEST):
        raise ValueError(f"limit: a whole number from 1 to {LARGEST} is expected, not {text[:50]!r}")
    return int(text)


class ListPage(Page):
    """Runs by a filter; an id that is looked for leads to its job."""

    template = "list.html"
    tab = "jobs"

    def read(self, *_: str) -> dict[str, Any]:
        """One page of runs."""
        candidates = self._looked_for(self.query("q"))
        form = read_filter(self.given(self.request.query_arguments))
        size, cursor = page_size(self.query("limit")), self.query("cursor")
        found = None if form.errors else self.jobs.list(size, cursor, **form.where)
        return {"runs": found, "form": form, "states": STATES, "candidates": candidates, "q": self.query("q") or ""}

    def _looked_for(self, said: str | None) -> list[str] | None:
        """Where an id means one job, its page; else ids that begin so."""
        if said is None:
            return None
        try:
            raise Elsewhere(f"/jobs/{self.jobs.find(said.strip())}")
        except AmbiguousId as error:
            return error.candidates
        except JobNotFound:
            return []

    def filtered(self, form: FilterForm, **instead: Any) -> str:
        """The address of this page with other fields of its filter."""
        return self.link("/jobs", **form.query(**instead))
