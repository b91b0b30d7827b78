"""JobTask: the Celery task class whose calls are jobs."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any, ClassVar

from celery.app.task import Task
from celery.exceptions import Reject, Retry
from celery.utils import uuid

from celery_jobs import eager, execution
from celery_jobs.batch import Batch
from celery_jobs.errors import Cancelled, InvalidSettings, NoRetry, RetryAfter
from celery_jobs.installation import ensure_installed
from celery_jobs.options import take_options
from celery_jobs.plugin import plugin_of
from celery_jobs.policy import Level, Policy, parse_level
from celery_jobs.surviving import surviving

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

__all__ = ["JobTask"]


class JobTask(Task):  # type: ignore[misc]
    """A task whose every call is a job: an attempt a row, retried by policy, dead-lettered at the end.

    Its own `retry_delays` (seconds), `retry_policy`, `max_attempts` and `no_retry_for` (exception classes that
    end the chain at once) go before the queue's (semantics.md section 3).
    """

    is_job: ClassVar[bool] = True
    retry_delays: ClassVar[list[float] | tuple[float, ...] | None] = None
    retry_policy: ClassVar[Policy | None] = None
    max_attempts: ClassVar[int | None] = None
    no_retry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    jobs_level: ClassVar[Level] = Level()
    keeps_its_time: ClassVar[bool] = False
    """Whether it sees to its queue's `timeout` itself."""

    Request = "celery_jobs.worker.request:JobRequest"
    # A lost worker is a matter of the store: see semantics.md section 6.
    reject_on_worker_lost = False
    retry_on_worker_lost = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("run", "__call__"):
            found = next(owner for owner in cls.__mro__ if name in owner.__dict__)
            if found is cls or not (found is Task or issubclass(found, JobTask)):  # its own, or that of a mixin
                setattr(cls, name, _recorded(cls, found.__dict__[name], whole=name == "__call__"))

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Install the plugin with the first job task of an app, and check the task's own policy."""
        ensure_installed(app)
        cls.jobs_level = _level_of(cls)

    @property
    def __trace__(self) -> Any:
        """Celery's tracer, with the claim before it and the finish after it."""
        return self.__dict__.get("_traced")

    @__trace__.setter
    def __trace__(self, tracer: Callable[..., Any] | None) -> None:
        if tracer is not None and plugin_of(self.app).manages(self.name):
            plugin = plugin_of(self.app)
            tracer = surviving(plugin, execution.traced(plugin, self, tracer))
        self.__dict__["_traced"] = tracer

    @__trace__.deleter
    def __trace__(self) -> None:
        self.__dict__.pop("_traced", None)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Celery's retry, of which only Celery's own retries count against `max_retries`.

        When it gives up, the policy does not begin again (semantics.md section 3).
        """
        running = eager.current() if self.request.is_eager else execution.current()
        if running is None or self.request.called_directly:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        if isinstance(exc, Exception) and running.gave_up is exc:
            raise exc  # autoretry_for asks with the task's own limit, and the call that gave up had another
        if isinstance(exc, Exception) and isinstance(exc, (Cancelled, NoRetry, *self.no_retry_for)):
            running.gave_up = True  # autoretry_for would try again what cannot help
            raise exc
        if isinstance(exc, RetryAfter):
            countdown = max(countdown or 0, exc.seconds)
        overridden = self.__dict__.get("override_max_retries", _MISSING)
        try:
            limit = self._limit(running, max_retries)
            return super().retry(args, kwargs, exc, throw, eta, countdown, limit, **options)
        except (Retry, Reject):
            raise
        except Exception as error:
            running.gave_up = error
            raise
        finally:
            self._restore_override(overridden)

    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled the run that is under way here (semantics.md section 10).

        Asks the database, at most once a second. False outside of a job's run, and while the database does not answer.
        """
        running = execution.current()
        return running is not None and eager.current() is None and running.is_cancelled()

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Celery's apply; a failure is tried again at once, as the policy says (semantics.md section 4)."""
        plugin = plugin_of(self.app)
        if not plugin.manages(self.name):
            return super().apply(args, kwargs, link, link_error, task_id, retries, *more, **options)
        ours, task_id = take_options(options), task_id or uuid()
        with eager.running(plugin, self, task_id, options.get("queue"), ours, is_retry=bool(retries)):
            return super().apply(args, kwargs, link, link_error, task_id, retries, *more, **options)

    def replace(self, sig: Any) -> Any:
        """Celery's replace, out of any batch: the replacement belongs to the end of this attempt."""
        running = eager.current()
        if running is not None and self.request.is_eager:
            running.gave_up = True  # what its replacement raises here has had that one's attempts
        with Batch(plugin_of(self.app)).gathering(active=False):
            return super().replace(sig)

    def _limit(self, running: execution.Execution | eager.EagerRun, max_retries: int | None) -> int | None:
        limit = self.max_retries if max_retries is None else max_retries
        return None if limit is None else limit + running.retries_by_policy

    def _restore_override(self, overridden: Any) -> None:
        """Celery leaves a call's limit on the shared task, where later calls would pick it up."""
        if overridden is _MISSING:
            self.__dict__.pop("override_max_retries", None)
        else:
            self.override_max_retries = overridden


_MISSING = object()


def _recorded(cls: type[JobTask], run: Any, whole: bool) -> Any:
    """`run` of a task, or the `whole` of its `__call__`: the outermost call in an attempt is judged by the policy."""
    static = isinstance(run, staticmethod)
    body = run.__func__ if static else run

    @functools.wraps(body)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        running = eager.current() or execution.current()
        if running is None or running.entered or not isinstance(running.task, cls):
            return body(*args, **kwargs)
        return running.run(body, args, kwargs, whole)

    return staticmethod(recorded) if static else recorded


def _level_of(cls: type[JobTask]) -> Level:
    problems = [
        f"task {cls.name}: {name} is not an option of a task; did you mean {near[0]}?"
        for name in vars(cls)
        if name[0] != "_"
        and name not in _NAMES
        and (near := difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0.85))
    ]
    given: Any = cls.no_retry_for
    if not isinstance(given, tuple | list) or not all(map(_is_exception, given)):
        problems.append(f"task {cls.name}: no_retry_for: a tuple of exception classes is expected, not {given!r}")
    try:
        level = parse_level(cls.retry_policy, cls.retry_delays, cls.max_attempts)
    except (TypeError, ValueError) as error:
        problems.append(f"task {cls.name}: {error}")
    if problems:
        raise InvalidSettings(problems)
    return level


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


_OPTIONS = ("retry_delays", "retry_policy", "max_attempts", "no_retry_for")
# Not asked of the class: its `app` would bind it to whichever app is the current one.
_NAMES = frozenset(name for base in JobTask.__mro__ for name in vars(base))
