"""Beat's entries: the ticks of the services, which an app's own `beat_schedule` does not wipe."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery.app.task import Task
from celery.signals import beat_init
from kombu.utils.imports import symbol_by_name

from celery_jobs.errors import InvalidSettings
from celery_jobs.ticks import note_ticks

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.settings import Settings

__all__ = ["beat_schedule", "install"]

TICKER = "celery_jobs.ticker:start"
"""What ticks for the schedules in SQL, by its name: it is loaded where beat runs."""

INTERVALS = {
    "promoter": "promote_interval",
    "redispatcher": "redispatch_interval",
    "reaper": "reap_interval",
    "dead-letter-sweeper": "sweep_interval",
    "history-sweeper": "sweep_interval",
}
"""Each service with the setting that says how often it runs."""


def install(plugin: Plugin) -> None:
    """Add the services' tasks and beat's entries when the app is finalized, and again when beat starts."""

    def on_finalize(sender: Celery, **_: Any) -> None:
        for service in INTERVALS:
            _add_task(plugin, service)
        # Signals swallow errors: wrong settings are for the worker's step, the first enqueue and beat to raise.
        with suppress(InvalidSettings):
            _add_entries(sender.conf.beat_schedule, plugin.settings)
            _let_expire(sender, plugin.settings)

    def on_beat(sender: Any, **_: Any) -> None:
        if sender.app is plugin.app:
            _add_missing(plugin, sender.scheduler)
            note_ticks(sender.scheduler)
            symbol_by_name(TICKER)(plugin, sender.scheduler)

    plugin.app.on_after_finalize.connect(on_finalize, weak=False)
    # The signal is of the process: it must not keep an app that is gone, so the app itself keeps the receiver.
    plugin.on_beat = on_beat
    beat_init.connect(on_beat)


def _add_missing(plugin: Plugin, scheduler: Any) -> None:
    try:
        entries = beat_schedule(plugin.settings)
    except InvalidSettings as error:
        raise SystemExit(str(error)) from error  # an Exception would be swallowed by the signal
    present = scheduler.schedule
    scheduler.update_from_dict({name: entry for name, entry in entries.items() if name not in present})


def _add_entries(schedule: dict[str, Any], settings: Settings) -> None:
    for name, entry in beat_schedule(settings).items():
        schedule.setdefault(name, entry)


def _let_expire(app: Celery, settings: Settings) -> None:
    """Say on the tasks too when their ticks expire: django-celery-beat keeps no `expires` of an entry's options."""
    for entry in beat_schedule(settings).values():
        app._tasks[entry["task"]].expires = entry["options"]["expires"]


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """The entries as Celery's `beat_schedule` has them; a tick that waits a whole interval is dropped."""
    entries = {}
    for service, setting in INTERVALS.items():
        interval = float(getattr(settings, setting))
        options = {"queue": settings.service_queue, "expires": interval}
        entries[f"celery-jobs.{service}"] = {
            "task": task_name(service),
            "schedule": interval,
            "options": options,
        }
    return entries


def task_name(service: str) -> str:
    """The Celery task that runs a service's tick."""
    return f"celery_jobs.{service.replace('-', '_')}"


def _add_task(plugin: Plugin, service: str) -> None:
    def tick() -> int | None:
        from celery_jobs.services import make_service

        return make_service(plugin, service).tick()

    name = task_name(service)
    tick.__doc__ = f"Take the turn of the {service}."
    plugin.app.task(tick, name=name, base=Task, ignore_result=True, shared=False, lazy=False)
