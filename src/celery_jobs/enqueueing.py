"""Enqueueing by name, one or many at once: the doors beside `.delay()` (semantics.md section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.canvas import Signature

from celery_jobs.arguments import require_fit
from celery_jobs.batch import Batch, Gathered
from celery_jobs.errors import InvalidJob, StoreUnavailable
from celery_jobs.http.request import NAMES as REQUEST
from celery_jobs.http.request import as_arguments
from celery_jobs.options import NAMES, refuse_unknown
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.runs import MARKS, EnqueueOutcome
from celery_jobs.template import Templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Enqueued

__all__ = ["batch", "enqueue_many", "http_call", "submit"]

MOST_ENQUEUED = 10_000
"""Items of one call; semantics.md section 4."""

CHUNK = 500
"""Items stored in one transaction where a call need not be atomic; while it is, the ones before it are sent."""

_CELERY_OPTIONS = frozenset(
    [
        "queue",
        "countdown",
        "eta",
        "expires",
        "task_id",
        "link",
        "link_error",
        "serializer",
        "compression",
        "time_limit",
        "soft_time_limit",
        "ignore_result",
        "headers",
        "exchange",
        "routing_key",
        "shadow",
    ]
)

_KNOWN = (NAMES - {"job_priority"}) | _CELERY_OPTIONS | {"priority"}
"""At these doors our priority is called `priority`."""


def submit(plugin: Plugin, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Any:
    """Enqueue a task by name, `priority` higher first; gives Celery's result. Raises InvalidJob."""
    refuse_unknown(options, _KNOWN)
    _require_job(plugin, name)
    if "priority" in options:
        options["job_priority"] = options.pop("priority")
    task = plugin.app.tasks.get(name)
    if task is None:
        return plugin.app.send_task(name, tuple(args), dict(kwargs), **options)
    require_fit(task, args, kwargs)
    return task.apply_async(tuple(args), dict(kwargs), **options)


def http_call(url: Any, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Task and keyword arguments of a request, whose part is taken out of a door's options; raises InvalidJob."""
    arguments = {name: options.pop(name) for name in REQUEST if name in options}
    refuse_unknown(options, _KNOWN | frozenset(REQUEST))
    return HTTP_TASK, as_arguments({**arguments, "url": url})


def _require_job(plugin: Plugin, name: str) -> None:
    """Refuse what would be sent without a row."""
    if name not in plugin.app.tasks and not plugin.manages(name):
        raise InvalidJob("name", f"{name} is not known here, and this app's unknown tasks are no jobs")
    if not plugin.manages(name):
        raise InvalidJob("name", f"{name} is no job: give its task base=JobTask, or install(app) before it is made")
    if plugin.app.conf.task_always_eager:
        raise InvalidJob("name", "task_always_eager makes no rows; call the task itself, or switch it off")


@contextmanager
def batch(plugin: Plugin, session: Any = None) -> Iterator[None]:
    """Gather the enqueues made inside; at its end all are stored in one transaction, or none, and sent together.

    `session`: a transaction of the caller's own, after whose commit they are sent.
    """
    gathered = Batch(plugin, session)
    with gathered.gathering():
        yield
    gathered.store(gathered.gathered)


def enqueue_many(
    plugin: Plugin, items: Iterable[Signature | Mapping[str, Any]], atomic: bool, defaults: Mapping[str, Any]
) -> list[EnqueueOutcome]:
    """Enqueue many; what became of each, in their order. See Jobs.enqueue_many."""
    given = list(items)
    if len(given) > MOST_ENQUEUED:
        raise InvalidJob("items", f"at most {MOST_ENQUEUED:,} are taken in one call, not {len(given):,}")
    prepared = _Preparation(plugin, defaults, atomic)
    size = len(given) if atomic else CHUNK
    slices = (range(start, min(start + size, len(given))) for start in range(0, len(given), size or 1))
    outcomes: dict[int, EnqueueOutcome] = {}
    with _recording(prepared, beside=len(given) > size) as record:
        before = None
        for part in slices:
            entries = {index: prepared.gather(index, given[index]) for index in part}
            sound = {index: entry for index, entry in entries.items() if isinstance(entry, Gathered)}
            outcomes.update((i, EnqueueOutcome(i, error=e)) for i, e in entries.items() if isinstance(e, Exception))
            recorded = record(sound := {**sound, **prepared.take_others()})
            if before is not None:
                outcomes.update(prepared.follow(*before))
            before = sound, recorded
        if before is not None:
            outcomes.update(prepared.follow(*before))
    return [outcomes[index] for index in range(len(given))]


Recorded = Callable[[], "list[Enqueued]"]
"""Gives what recording a part has made, once it is done, or raises why it could not be."""


@contextmanager
def _recording(prepared: _Preparation, beside: bool) -> Iterator[Callable[[dict[int, Gathered]], Recorded]]:
    """Records parts one after the other, `beside`: in a thread, while the caller prepares and sends others."""
    if not beside or prepared.batch.session is not None or prepared.plugin.db.is_sqlite:
        yield lambda part: partial(prepared.record, part)
        return
    with ThreadPoolExecutor(1, "celery-jobs-recorder") as thread:
        yield lambda part: thread.submit(prepared.record, part).result


class _Preparation:
    """One call of `enqueue_many`: its batch, its shared options, and the scopes of the keys it has seen."""

    def __init__(self, plugin: Plugin, defaults: Mapping[str, Any], atomic: bool) -> None:
        self.plugin = plugin
        self.atomic = atomic
        self.defaults = {name: value for name, value in defaults.items() if name != "session"}
        self.scopes: dict[str, str] = {}
        self.batch = Batch(plugin, defaults.get("session"))
        self.templates = Templates(plugin)
        self.others: list[Gathered] = []
        """What signal receivers and the like have enqueued meanwhile."""
        self.away: StoreUnavailable | None = None

    def gather(self, index: int, item: Signature | Mapping[str, Any]) -> Gathered | Exception:
        """Check one item and make its job; where the call is not atomic, the error of a bad one is its outcome."""
        try:
            name, args, kwargs, options = _read(item)
            options = {**self.defaults, **options}
            return self._gather(name, args, kwargs, options)
        except Exception as error:
            if not self.atomic:
                return error
            if isinstance(error, InvalidJob):
                raise InvalidJob(f"items[{index}].{error.field}", error.problem) from error
            raise InvalidJob(f"items[{index}]", str(error)) from error

    def _gather(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Gathered:
        """Make an item's job. Two with one key make one job, whatever their tasks (semantics.md section 4)."""
        key = options.get("idempotency_key")
        shared = key if isinstance(key, str) and options.get("idempotency_scope") is None else None
        if shared in self.scopes:
            options["idempotency_scope"] = self.scopes[str(shared)]
        mine = self.templates.copy(name, args, kwargs, options) or self._made(name, args, kwargs, options)
        if shared is not None:
            self.scopes.setdefault(shared, str(mine.job.idempotency_scope))
        return mine

    def _made(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Gathered:
        """The job as Celery makes it, and a template of it."""
        before, given = len(self.batch.gathered), dict(options)
        with self.batch.gathering():
            result = submit(self.plugin, name, args, kwargs, options)
        made = self.batch.gathered[before:]
        mine = next((entry for entry in made if entry.job.task_id == result.id), None)
        if mine is None:
            raise InvalidJob("task", f"a call of {name} made no job")
        self.others += [entry for entry in made if entry is not mine]
        self.templates.keep(name, args, kwargs, given, mine)
        return mine

    def take_others(self) -> dict[int, Gathered]:
        """What was enqueued beside the items since the last time, under numbers that no item has."""
        others, self.others = self.others, []
        return {~number: entry for number, entry in enumerate(others)}

    def record(self, part: Mapping[int, Gathered]) -> list[Enqueued]:
        """Store a part; once the database is away, the rest is not tried."""
        if self.away is not None:
            raise self.away
        try:
            return self.batch.record(list(part.values())) if part else []
        except StoreUnavailable as error:
            self.away = error
            raise

    def follow(self, part: Mapping[int, Gathered], recorded: Recorded) -> dict[int, EnqueueOutcome]:
        """Send a part that is stored; what became of it."""
        try:
            made = recorded()
        except StoreUnavailable as error:
            if self.atomic:
                raise
            return {index: EnqueueOutcome(index, error=error) for index in part}
        self.batch.follow(list(part.values()), made)
        return {index: _outcome(index, enqueued) for index, enqueued in zip(part, made, strict=True)}


def _outcome(index: int, enqueued: Enqueued) -> EnqueueOutcome:
    return EnqueueOutcome(index, enqueued.job_id, enqueued.task_id, **{name: getattr(enqueued, name) for name in MARKS})


def _read(item: Signature | Mapping[str, Any]) -> tuple[str, Sequence[Any], Mapping[str, Any], dict[str, Any]]:
    """Name, arguments, keyword arguments and options of an item; raises InvalidJob."""
    if isinstance(item, Signature):
        if item.subtask_type is not None:
            raise InvalidJob("task", f"a single task is expected, not a {item.subtask_type}")
        return item.task, item.args, item.kwargs, {k: v for k, v in item.options.items() if v is not None}
    if not isinstance(item, Mapping):
        raise InvalidJob("items", f"a signature or an object with task, args and kwargs is expected, not {item!r}")
    options = dict(item)
    name, args, kwargs = options.pop("task", None), options.pop("args", ()), options.pop("kwargs", {})
    if not isinstance(name, str) or not name:
        raise InvalidJob("task", f"the name of a task is expected, not {name!r}")
    if isinstance(args, str | bytes) or not hasattr(args, "__iter__"):
        raise InvalidJob("args", f"a list is expected, not {args!r}")
    if not isinstance(kwargs, Mapping):
        raise InvalidJob("kwargs", f"an object is expected, not {kwargs!r}")
    return name, args, kwargs, options
