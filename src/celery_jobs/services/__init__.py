"""The services: each `run_once() -> int`, safe in any number of copies, run by beat, workers and the CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.services.base import Service
from celery_jobs.services.promoter import Promoter
from celery_jobs.services.reaper import Reaper
from celery_jobs.services.redispatcher import Redispatcher
from celery_jobs.services.sweepers import DeadLetterSweeper, HistorySweeper

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["SERVICES", "Service", "make_service"]

SERVICES: dict[str, type[Service]] = {
    service.name: service for service in (Promoter, Redispatcher, Reaper, DeadLetterSweeper, HistorySweeper)
}


def make_service(plugin: Plugin, name: str) -> Service:
    """The service of this name; raises KeyError for an unknown one."""
    return SERVICES[name](plugin)
