"""The page Audit log: who did what, to what, and why; also as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from celery_jobs.tokens import Scope
from celery_jobs.web.page import Page
from celery_jobs.web.pages.list import page_size
from celery_jobs.web.threads import run

if TYPE_CHECKING:
    from celery_jobs.store.audit import Act

__all__ = ["AuditExport", "AuditPage", "cell"]

ASKED = ("actor", "action", "door")
AT_ONCE = 500
"""Acts that are read at once for an export."""

_COLUMNS = (
    *("at", "actor", "door", "address", "token_id", "action", "target", "reason"),
    *("matched", "done", "skipped", "result", "error", "finished_at", "id"),
)


class AuditPage(Page):
    """Acts, the newest first."""

    template = "audit.html"
    tab = "jobs"
    scope = Scope.ADMIN

    def read(self, *_: str) -> dict[str, Any]:
        """One page of acts."""
        size, asked = page_size(self.query("limit")), _asked(self)
        found = self.jobs.acts(size, self.query("cursor"), **asked)
        cursor = found[-1].id if len(found) == size else None
        return {"acts": found, "asked": asked, "cursor": cursor}


def _asked(page: Page) -> dict[str, Any]:
    return {name: said for name in ASKED if (said := page.query(name)) is not None}


class AuditExport(Page):
    """All acts of a filter, written page by page."""

    scope = Scope.ADMIN

    async def get(self, *place: str) -> None:
        """Write the file."""
        kind = place[0]
        self.set_header("Content-Type", "text/csv; charset=utf-8" if kind == "csv" else "application/x-ndjson")
        self.set_header("Content-Disposition", f'attachment; filename="audit.{kind}"')
        if kind == "csv":
            self.write(_line(_COLUMNS))
        cursor, asked = None, _asked(self)
        while found := await run(partial(self.jobs.acts, AT_ONCE, cursor, **asked)):
            self.write("".join(_row(act) if kind == "csv" else f"{json.dumps(act.to_json())}\n" for act in found))
            await self.flush()
            cursor = found[-1].id


def _row(act: Act) -> str:
    told = act.to_json()
    told["target"] = json.dumps(told["target"], ensure_ascii=False)
    return _line(cell(told[name]) for name in _COLUMNS)


def _line(cells: Any) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()


def cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV Injection)."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
