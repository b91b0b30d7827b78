"""An app that for a while has its own database, no broker, result server or network, and a clock that stands still."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery_jobs.http.clients import replaced
from celery_jobs.plugin import plugin_of
from celery_jobs.testing.broker import KeepingProducer, KeptMessages, SilentSender
from celery_jobs.testing.clock import VirtualClock
from celery_jobs.testing.complaints import SandboxError
from celery_jobs.testing.database import temporary_database
from celery_jobs.testing.internet import Internet
from celery_jobs.testing.results import MemoryResults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.db import Database

__all__ = ["Isolated", "isolated"]

_taken: WeakSet[Plugin] = WeakSet()
"""The plugins of apps that are in a sandbox."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """An app in its sandbox: what stands in for its database, clock, broker and the Internet."""

    plugin: Plugin
    db: Database
    clock: VirtualClock
    kept: KeptMessages
    internet: Internet

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Every task that the app knows."""
        known: Mapping[str, Any] = self.plugin.app.tasks
        return known


_OF_SETTINGS = ("settings", "has_timeouts", "has_limited_queues")
"""What a plugin keeps of the app's settings."""


@contextmanager
def isolated(app: Celery) -> Iterator[Isolated]:
    """Isolate an app; everything is put back at the end. Raises NotInstalled, InvalidSettings, SandboxError."""
    plugin, clock = plugin_of(app), VirtualClock()
    with ExitStack() as stack:
        stack.enter_context(_only_once(plugin))
        stack.enter_context(_put_back(plugin, *_OF_SETTINGS))
        for name in _OF_SETTINGS:  # the app's settings may have changed since they were read
            vars(plugin).pop(name, None)
        db = stack.enter_context(temporary_database(clock))
        kept, internet = KeptMessages(plugin, clock), Internet(clock)
        for owner, name, value in (
            (plugin, "_database", db),
            (plugin, "_ready_in", os.getpid()),
            (plugin, "monotonic", clock.monotonic),
            (plugin, "_sender", (os.getpid(), SilentSender(plugin))),
            (app, "now", lambda: clock.now.astimezone(app.timezone)),
            (app.amqp, "send_task_message", _keeping(app.amqp.send_task_message, kept)),
        ):
            stack.enter_context(_put_back(owner, name))
            vars(owner)[name] = value
        stack.enter_context(replaced(plugin, internet.client(plugin.settings.address_policy)))
        _replace_results(app, stack)
        _refuse_eagerness(app, stack)
        yield Isolated(plugin, db, clock, kept, internet)


@contextmanager
def _only_once(plugin: Plugin) -> Iterator[None]:
    if plugin in _taken:
        raise SandboxError(f"{plugin.app!r} is in a sandbox already: close that one first, or use it")
    _taken.add(plugin)
    try:
        yield
    finally:
        _taken.discard(plugin)


@contextmanager
def _put_back(owner: Any, *names: str) -> Iterator[None]:
    """Put an object's own attributes back as they are now, absent ones included."""
    before = {name: vars(owner)[name] for name in names if name in vars(owner)}
    try:
        yield
    finally:
        for name in names:
            vars(owner).pop(name, None)
        vars(owner).update(before)


def _keeping(send: Any, kept: KeptMessages) -> Any:
    def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
        return send(KeepingProducer(producer, kept), name, message, **options)

    return send_task_message


def _replace_results(app: Celery, stack: ExitStack) -> None:
    """Results in memory, also those of tasks with a backend of their own."""
    results = MemoryResults(app)
    stack.enter_context(_put_back(app, "_backend_cache"))
    app._backend_cache = results
    for task in app.tasks.values():
        if task.backend is not results:
            stack.enter_context(_put_back(task, "backend", "_backend"))
            task.backend = results


def _refuse_eagerness(app: Celery, stack: ExitStack) -> None:
    """Eager runs make no rows, and are what many an app's settings for tests ask for."""
    eager = app.conf.task_always_eager
    if eager:
        stack.callback(setattr, app.conf, "task_always_eager", eager)
        app.conf.task_always_eager = False
