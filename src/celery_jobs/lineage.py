"""What a run is a replay of, and what it was replayed as, as far as it is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.errors import JobNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_jobs.jobs import Jobs
    from celery_jobs.runs import Run

__all__ = ["Lineage", "lineage"]

MOST_FOLLOWED = 20

Lineage = tuple[list["Run"], list["Run"]]
"""The runs before, the latest first, and those after."""


def lineage(jobs: Jobs, run: Run) -> Lineage:
    """Follow the links of replays both ways."""
    return _follow(jobs, run, lambda one: one.replay_of), _follow(jobs, run, lambda one: one.replayed_as)


def _follow(jobs: Jobs, run: Run, link: Callable[[Run], str | None]) -> list[Run]:
    found: list[Run] = []
    while (id := link(found[-1] if found else run)) is not None and len(found) < MOST_FOLLOWED:
        try:
            found.append(jobs.get(id))
        except JobNotFound:
            break
    return found
