"""Pages of the list and of the dead letters over much history: how long they take, and how many rows they read."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import counters, history, own
from benchmarks.contenders import OURS
from benchmarks.entrant import entered
from benchmarks.measure import Figures, Measure
from celery_jobs import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

LIMIT = 50
MIDDLE, END = timedelta(days=6.5), timedelta(days=12.9)
"""How far back a page begins: half of the history, and nearly all of it."""

Page = Callable[[own.Own], object]


def contenders(plan: Plan) -> Sequence[str]:
    """Ours."""
    return (OURS,)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Read each page many times, and those of other filters once, while the server counts."""
    with entered(stage, OURS, plan.many_rows) as entrant, own.opened(entrant) as app:
        lists = {f"list {name} ms": _milliseconds(app, page, plan.pages) for name, page in _lists().items()}
        dead = {f"dead letters {name} ms": _milliseconds(app, page, plan.pages) for name, page in _dead().items()}
        shown = {f"dashboard {name} ms": _milliseconds(app, page, plan.pages) for name, page in _shown().items()}
        others = {name: _rows_read(app, entrant.database, page) for name, page in _others().items()}
    rows = {f"{name} rows": rows for name, (rows, _, _) in others.items()}
    times = {f"{name} ms": milliseconds for name, (_, _, milliseconds) in others.items()}
    worst = {
        "list_ms": max(lists.values()),
        "dead_ms": max(dead.values()),
        "shown_ms": max(shown.values()),
        "rows_read": max(rows.values()),
    }
    worst["index_entries_read"] = max(entries for _, entries, _ in others.values())
    return {**worst, "others_ms": max(times.values()), **lists, **dead, **shown, **rows, **times}


def _lists() -> dict[str, Page]:
    """Newest first, wherever the page begins; what an index gives in the list's own order."""
    return {
        "newest": lambda app: app.jobs.list(LIMIT),
        "middle": lambda app: app.jobs.list(LIMIT, _before(MIDDLE)),
        "end": lambda app: app.jobs.list(LIMIT, _before(END)),
    }


def _dead() -> dict[str, Page]:
    week = datetime.now(UTC) - MIDDLE
    return {
        "newest": lambda app: app.jobs.list(LIMIT, final_status="dead_lettered"),
        "middle": lambda app: app.jobs.list(LIMIT, _before(MIDDLE), final_status="dead_lettered"),
        "end": lambda app: app.jobs.list(LIMIT, _before(END), final_status="dead_lettered"),
        "of a queue": lambda app: app.jobs.list(LIMIT, final_status="dead_lettered", queue="reports"),
        "of a week ago": lambda app: app.jobs.list(LIMIT, final_status="dead_lettered", dead_lettered_before=week),
    }


def _shown() -> dict[str, Page]:
    """What the pages of the dashboard ask besides lists."""
    return {
        "last hour": lambda app: app.jobs.timeline(60),
        "queues": lambda app: app.jobs.queues(3600),
        "workers": lambda app: app.jobs.workers(),
        "what died of what": lambda app: app.jobs.error_groups(50),
    }


def _others() -> dict[str, Page]:
    """What is frequent, what is rare, and what there is none of, so that a scan for it finds no end."""
    day, week = (datetime.now(UTC) - timedelta(days=days) for days in (1, 7))
    nobody = "00000000-0000-7000-8000-000000000000"
    return {
        "queue": lambda app: app.jobs.list(LIMIT, queue="reports"),
        "no such queue": lambda app: app.jobs.list(LIMIT, queue="none"),
        "task": lambda app: app.jobs.list(LIMIT, task="shop.export"),
        "no such task": lambda app: app.jobs.list(LIMIT, task="shop.none"),
        "tag": lambda app: app.jobs.list(LIMIT, tag="customer:customer-7"),
        "no such tag": lambda app: app.jobs.list(LIMIT, tag="none"),
        "error type": lambda app: app.jobs.list(LIMIT, error_type="CardDeclined"),
        "no such error": lambda app: app.jobs.list(LIMIT, error="no such words"),
        "pending": lambda app: app.jobs.list(LIMIT, status="pending"),
        "failed": lambda app: app.jobs.list(LIMIT, status="failed"),
        "processing": lambda app: app.jobs.list(LIMIT, status="processing"),
        "cancelled": lambda app: app.jobs.list(LIMIT, final_status="cancelled"),
        "retrying": lambda app: app.jobs.list(LIMIT, final_status="retrying"),
        "not ended": lambda app: app.jobs.list(LIMIT, ended=False),
        "third attempts": lambda app: app.jobs.list(LIMIT, attempts=3),
        "a day a week ago": lambda app: app.jobs.list(
            LIMIT, created_after=week - timedelta(days=1), created_before=week
        ),
        "before a day ago": lambda app: app.jobs.list(LIMIT, created_before=day),
        "replays of nobody": lambda app: app.jobs.list(LIMIT, replay_of=nobody),
    }


def _before(age: timedelta) -> str:
    return history.first_id(datetime.now(UTC) - age)


def _milliseconds(app: own.Own, page: Page, times: int) -> float:
    """The median, after a first reading that connects."""
    page(app)
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        page(app)
        taken.append(1000 * (time.perf_counter() - started))
    return median(taken)


def _rows_read(app: own.Own, database: str, page: Page) -> tuple[int, int, float]:
    """The rows and index entries that the server has read for one page, and the milliseconds, with connecting.

    Also where it was given up.
    """
    app.plugin.unchecked_db.dispose()
    rows, entries = counters.rows_read(database)
    started = time.perf_counter()
    with suppress(StoreUnavailable):  # it took longer than a query may
        page(app)
    milliseconds = 1000 * (time.perf_counter() - started)
    app.plugin.unchecked_db.dispose()
    rows_since, entries_since = counters.rows_read(database)
    return rows_since - rows, entries_since - entries, milliseconds


MEASURE = Measure("pages", "pages of lists over much history", contenders, run, "list_ms", "ms")
