"""Comparing what a test expects to be enqueued with what was: with what would have gone over the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery_jobs.envelope import decode_body
from celery_jobs.store import reads
from celery_jobs.store.rows import JOB_COLUMNS, Job

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run

__all__ = ["Call", "Wanted", "read_call", "want"]

COLUMNS = frozenset(JOB_COLUMNS) - {"task", "queue", "lease_token"}


@dataclass(frozen=True, slots=True)
class Call:
    """An enqueue as it is stored: the run, and its arguments as a worker would read them."""

    run: Run
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def original(self) -> Job:
        """The attempt that was enqueued."""
        return self.run.attempts[0]

    @property
    def delay(self) -> timedelta:
        """From the enqueue to the moment it is due; 0 for one that was due before."""
        return max(timedelta(0), self.original.scheduled_at - self.original.created_at)

    def describe(self, names: Sequence[str] = ()) -> str:
        """The call as a person would write it, with its queue, wait, state, and the named columns."""
        wait = f", delay={self.delay.total_seconds():g}" if self.delay else ""
        more = "".join(f", {name}={getattr(self.original, name)!r}" for name in names)
        state = self.run.final_status or self.run.status
        name = self.original.task or "(no task)"
        return f"{name}{_call(self.args, self.kwargs)} queue={self.original.queue!r}{wait}{more} [{state}]"


def read_call(plugin: Plugin, run: Run) -> Call:
    """Read the arguments of a run out of its stored message."""
    message = reads.message_of(plugin.db, run.id)
    args, kwargs, _ = decode_body(plugin, message) if message is not None else ((), {}, {})
    return Call(run, args, kwargs)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an enqueue is to be like; None says nothing. `columns`: values of the original's row by name."""

    task: str | None = None
    queue: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    delay: timedelta | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, call: Call) -> bool:
        """Whether an enqueue is like this."""
        row = call.original
        return (
            self.task in (None, row.task)
            and self.queue in (None, row.queue)
            and self.delay in (None, call.delay)
            and (self.args is None or _same(self.args, call.args))
            and (self.kwargs is None or _same(self.kwargs, call.kwargs))
            and all(_same(value, getattr(row, name)) for name, value in self.columns.items())
        )

    def __str__(self) -> str:
        arguments = "(…)" if self.args is None and self.kwargs is None else _call(self.args, self.kwargs)
        queue = "" if self.queue is None else f" queue={self.queue!r}"
        wait = "" if self.delay is None else f" delay={self.delay.total_seconds():g}"
        return f"{self.task or 'any task'}{arguments}{queue}{wait}" + "".join(
            f" {name}={value!r}" for name, value in self.columns.items()
        )


def want(
    task: Any = None,
    queue: str | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    delay: float | timedelta | None = None,
    **columns: Any,
) -> Wanted:
    """Read what a test expects; raises TypeError for what no job has."""
    name = task if task is None or isinstance(task, str) else getattr(task, "name", None)
    if task is not None and not isinstance(name, str):
        raise TypeError(f"a task or its name is expected, not {task!r}")
    unknown = columns.keys() - COLUMNS
    if unknown:
        raise TypeError(f"a job has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(COLUMNS))}, delay")
    wait = timedelta(seconds=delay) if isinstance(delay, int | float) else delay
    return Wanted(name, queue, args, kwargs, wait, columns)


def _same(expected: Any, found: Any) -> bool:
    """Equal, whichever kind of sequence: JSON has one only. The expected side is asked, as it may be `ANY`."""
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(_same(value, found[key]) for key, value in expected.items())
    return bool(expected == found)


def _call(args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> str:
    positional = ["*…"] if args is None else [repr(value) for value in args]
    named = ["**…"] if kwargs is None else [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"({', '.join(positional + named)})"
