"""The page Jobs: runs by a filter that stands in the address, newest first, page by page."""

from __future__ import annotations

from typing import Any

from celery_jobs.web.page import Page

__all__ = ["ListPage"]


class ListPage(Page):
    """Runs."""

    template = "list.html"
    tab = "jobs"

    def read(self, *_: str) -> dict[str, Any]:
        """One page of runs."""
        return {"runs": self.jobs.list(50, self.query("cursor"))}
