"""What `install` hangs on a Celery app: its settings, its database, its sender, and which tasks are ours."""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery_jobs.configuration import read_settings
from celery_jobs.errors import NotInstalled, StoreUnavailable
from celery_jobs.events import Kind, emit, mask
from celery_jobs.policy import Level, Policy, resolve
from celery_jobs.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.sealing import Sealer
    from celery_jobs.settings import Settings
    from celery_jobs.store.db import Database

__all__ = ["ATTRIBUTE", "HTTP_TASK", "Plugin", "plugin_of"]

AWAIT_PAUSE = 1.0
"""Seconds between two tries to reach a database that is away."""

HTTP_TASK = "celery_jobs.http.request"
"""The task of HTTP jobs."""

ATTRIBUTE = "celery_jobs"
"""The plugin hangs on the app under this name."""


class Plugin:
    """The plugin on one Celery app. Nothing is read or connected before its first use."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._ready_in = 0
        self._sealer: Sealer | None = None
        self.heart: Any = None
        """The heartbeat of the worker whose parent process this is, if it is one."""
        self.messenger: Any = None
        """What sends the callbacks there."""
        self.announcer: Any = None
        """What tells people of dead letters there, if alerts have destinations."""
        self.on_beat: Callable[..., None] | None = None
        """What adds beat's entries when beat starts."""
        self.monotonic: Callable[[], float] = time.monotonic
        """The clock that attempts are timed by; a sandbox has another."""

    @cached_property
    def settings(self) -> Settings:
        """The app's `jobs_*` settings; raises InvalidSettings."""
        settings = read_settings(self.app)
        mask(settings.redacted)
        if settings.encryption_keys:
            from celery_jobs.sealing import Sealer, teach

            self._sealer = Sealer(settings.encryption_keys)
            teach(self.app, self._sealer)
        return settings

    @property
    def sealer(self) -> Sealer | None:
        """What seals and opens what jobs hold, where `jobs_encryption_keys` has keys."""
        return self._sealer if self.settings.encryption_keys else None

    @cached_property
    def has_timeouts(self) -> bool:
        """Whether any queue has a `timeout`: a worker asks it of each message."""
        queues = (self.settings.queue_defaults, *self.settings.queues.values())
        return any(queue.timeout is not None for queue in queues)

    @cached_property
    def has_limited_queues(self) -> bool:
        """Whether any queue has a `concurrency_limit` or a `rate_limit`: a claim then asks first whose job it is."""
        queues = (self.settings.queue_defaults, *self.settings.queues.values())
        return any(queue.is_limited for queue in queues)

    @cached_property
    def _database(self) -> Database:
        from celery_jobs.store.db import Database

        settings = self.settings
        database = Database(settings.database_url, settings.database_timeout, is_pooled=settings.database_pooler)
        database.sealer = self.sealer
        return database

    @property
    def db(self) -> Database:
        """The jobs database, its schema checked once a process; raises SchemaOutdated, StoreUnavailable."""
        if self._ready_in != os.getpid():
            from celery_jobs.store import migrations

            migrations.require(self._database)
            self._ready_in = os.getpid()
        return self._database

    def db_beside(self, session: Any) -> Database:
        """The same for a caller with a transaction: the tables of a SQLite file cannot be made while it is open."""
        if self._ready_in != os.getpid() and self._database.is_sqlite:
            from celery_jobs.store import transactions

            transactions.require_tables(self._database, session)
        return self.db

    def await_db(self) -> Database:
        """The jobs database, waiting for one that is away as long as it takes; raises SchemaOutdated."""
        while True:
            try:
                return self.db
            except StoreUnavailable as error:
                emit(Kind.STORE_UNAVAILABLE, error=str(error))
                time.sleep(AWAIT_PAUSE)

    def masked(self, text: str | None) -> str | None:
        """A text for an output: what `jobs_redact` names is masked."""
        return None if text is None else redact_text(text, self.settings.redacted)

    @property
    def where(self) -> str:
        """The jobs database as a person would name it: no password, a file with its whole path."""
        url = self._database.url
        if self._database.is_sqlite and url.database:
            return os.path.abspath(url.database)
        return url.render_as_string()

    @property
    def unchecked_db(self) -> Database:
        """The jobs database, whatever its schema: for migrating it."""
        return self._database

    def manages(self, name: str) -> bool:
        """Whether the task of this name is a job. Celery's own tasks never are.

        A name that is not registered here is one where JobTask is the app's default class.
        """
        if name.startswith("celery."):
            return False
        task = self.task(name)
        return bool(getattr(self._default_class if task is None else task, "is_job", False))

    def policy(self, task: str | None, queue: str, job: Level) -> Policy:
        """The retry policy of a job: job over task over queue (semantics.md section 3); raises ValueError."""
        declared = getattr(self.task(task), "jobs_level", None) or Level()
        return resolve(job, declared, self.settings.queue(queue).level)

    def task(self, name: str | None) -> Any:
        """The registered task of a name, None where there is none; it finalizes no app."""
        try:
            return self.app._tasks[name]  # a registry of an app's own may have no `get`
        except KeyError:
            return None

    @property
    def _default_class(self) -> Any:
        from kombu.utils.imports import symbol_by_name

        return symbol_by_name(self.app.task_cls)


def plugin_of(app: Celery) -> Plugin:
    """The app's plugin; raises NotInstalled.

    The shortcuts install it with the app's first job task, so the app is finalized before it is found missing.
    """
    if not hasattr(app, ATTRIBUTE):
        app.finalize(auto=True)
    plugin = getattr(app, ATTRIBUTE, None)
    if not isinstance(plugin, Plugin):
        raise NotInstalled(
            f"celery-jobs is not installed on {app!r}; call celery_jobs.install(app) where the app is made"
        )
    return plugin
