"""The doctor: what is wrong with an app, its broker, its database, its workers and its jobs, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.doctor import backlog, broker, configuration, database, workers
from celery_jobs.doctor.finding import SEVERITIES, Check, Finding

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS", "Check", "Finding", "examine"]

_BEHIND: tuple[tuple[Check, tuple[Check, ...]], ...] = (
    (database.outdated, (*database.CHECKS, *workers.CHECKS, *backlog.CHECKS)),
    (broker.away, broker.CHECKS),
)
"""Two doors: where one finds something, nothing behind it can be looked at."""

CHECKS: tuple[Check, ...] = (*configuration.CHECKS, *(check for door, rest in _BEHIND for check in (door, *rest)))
"""Every check that there is."""


def examine(plugin: Plugin) -> list[Finding]:
    """All that is found, the worst first; raises StoreUnavailable where the database does not answer."""
    found = [finding for check in configuration.CHECKS for finding in check(plugin)]
    for door, rest in _BEHIND:
        closed = door(plugin)
        found += closed or [finding for check in rest for finding in check(plugin)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
