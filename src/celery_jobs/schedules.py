"""The verbs for schedules in SQL, and the jobs that they make (semantics.md section 10)."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery_jobs import enqueueing
from celery_jobs.arguments import mask_call
from celery_jobs.batch import Batch
from celery_jobs.errors import InvalidJob, ScheduleNotFound
from celery_jobs.events import Kind, emit
from celery_jobs.http.request import NAMES as REQUEST
from celery_jobs.options import is_json, refuse_unknown
from celery_jobs.queues import require_words
from celery_jobs.redaction import redact
from celery_jobs.store import schedules
from celery_jobs.timetable import parse_timetable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery_jobs.batch import Gathered
    from celery_jobs.plugin import Plugin
    from celery_jobs.runs import Run
    from celery_jobs.store.schedules import Schedule

__all__ = ["Schedules", "enqueued_by", "gather"]

TAG = "schedule"
"""The tag of a job that says by which schedule it was made."""

LONGEST_NAME = 255
"""Bytes of UTF-8."""

MISSED, OVERLAP = ("skip", "run"), ("allow", "skip")
"""What becomes of a tick that comes too late, and of one whose last job has not ended; the first is the default."""

OPTIONS = frozenset(
    [
        *("queue", "priority", "tags", "delay", "countdown", "expires", "callback_url", "concurrency_key"),
        *("concurrency_limit", "max_attempts", "max_retries", "retry_delays", "retry_policy", "time_limit"),
        *("soft_time_limit", "serializer", "compression", "ignore_result", "shadow"),
    ]
)
"""Options of `enqueue` that mean the same of every tick: neither keys, nor ids, nor moments."""


class Schedules:
    """What a person or a program can do to schedules."""

    _plugin: Plugin

    if TYPE_CHECKING:

        def get(self, id: str) -> Run:
            """The run of an id."""

    def schedule(
        self,
        name: str,
        task: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        url: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        every: Any = None,
        missed: str = "skip",
        overlap: str = "allow",
        **options: Any,
    ) -> Schedule:
        """Make a schedule, or change the one of this name as a whole; beat makes a job of each of its ticks.

        What: `task`, by name, with `args` and `kwargs`, or a request to `url` with the options of `enqueue_http`; and
        options of `enqueue` that mean the same of every job. All of it JSON. When: `cron`, five fields, in `timezone`
        (UTC), or `every` so many seconds, 1 to 31,622,400. `missed`: a tick over 60 s late is left out ("skip"), or
        one job is made of all of them ("run"). `overlap`: "skip" leaves out a tick while the last one's job has not
        ended. Pauses stay, and so does the next tick unless the times change. Raises InvalidJob that names the field,
        before anything is written.
        """
        timetable = parse_timetable(cron, timezone, every)
        values = _what(task, args, kwargs, url, dict(options))
        values.update(name=_name(name), missed=_one_of(MISSED, "missed", missed))
        values["overlap"] = _one_of(OVERLAP, "overlap", overlap)
        gather(self._plugin, values)
        made, created = schedules.put(self._plugin.db, values, timetable)
        emit(Kind.SCHEDULE_SET, schedule=name, created=created, task=made.task)
        return self._shown(made)

    def schedules(self) -> list[Schedule]:
        """All schedules, by name."""
        return [self._shown(found) for found in schedules.every(self._plugin.db)]

    def get_schedule(self, name: str) -> Schedule:
        """The schedule of a name; raises ScheduleNotFound."""
        return self._shown(self._require(name, schedules.find(self._plugin.db, name)))

    def pause_schedule(self, name: str, by: str | None = None, reason: str | None = None) -> Schedule:
        """Let a schedule tick no more until it is resumed; what it has made goes on. Raises ScheduleNotFound."""
        require_words(by, reason)
        made = self._require(name, schedules.pause(self._plugin.db, name, by, reason))
        emit(Kind.SCHEDULE_PAUSED, schedule=name, by=by, reason=reason, task=made.task)
        return self._shown(made)

    def resume_schedule(self, name: str) -> Schedule:
        """Let it tick again from now on; nothing was missed meanwhile. Raises ScheduleNotFound."""
        made, was_paused = self._require(name, schedules.resume(self._plugin.db, name))
        if was_paused:
            emit(Kind.SCHEDULE_RESUMED, schedule=name, task=made.task)
        return self._shown(made)

    def run_schedule(self, name: str) -> Run:
        """Make its job now, also while it is paused or the last one runs; its next tick stays. Gives the run.

        Raises ScheduleNotFound, and InvalidJob where what it makes is none any more.
        """
        found = self._require(name, schedules.find(self._plugin.db, name))
        gathered = gather(self._plugin, values_of(found))
        made = self._require(name, schedules.run(self._plugin.db, name, [entry.job for entry in gathered]))
        Batch(self._plugin).follow(gathered, made)
        emit(Kind.SCHEDULE_RAN, gathered[0].job, schedule=name)
        return self.get(made[0].job_id)

    def remove_schedule(self, name: str) -> None:
        """Delete a schedule; the jobs that it has made stay. Raises ScheduleNotFound."""
        if not schedules.remove(self._plugin.db, name):
            self._require(name, None)
        emit(Kind.SCHEDULE_REMOVED, schedule=name)

    def _require(self, name: str, found: Any) -> Any:
        if found is None:
            known = [schedule.name for schedule in schedules.every(self._plugin.db)]
            raise ScheduleNotFound(name, difflib.get_close_matches(str(name), known, n=1))
        return found

    def _shown(self, schedule: Schedule) -> Schedule:
        """As people may see it."""
        seen = mask_call(self._plugin, schedule.task, schedule.args, schedule.kwargs)
        options = redact(schedule.options, self._plugin.settings.redacted)
        return replace(schedule, args=list(seen.args), kwargs=seen.kwargs, options=options)


def _what(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, url: Any, options: dict[str, Any]
) -> dict[str, Any]:
    """Task, arguments and options of the jobs, as they are stored."""
    if (task is None) == (url is None):
        raise InvalidJob("task", "give either a task, by its name, or the url of a request")
    if url is not None:
        if args or kwargs:
            raise InvalidJob("args" if args else "kwargs", "goes with a task; a request has options of its own")
        refuse_unknown(options, OPTIONS | frozenset(REQUEST))
        task, kwargs = enqueueing.http_call(url, options)
    if not isinstance(task, str):
        raise InvalidJob("task", f"the name of a task is expected, not {task!r}")
    if isinstance(args, str | bytes) or not hasattr(args, "__iter__"):
        raise InvalidJob("args", f"a list is expected, not {args!r}")
    refuse_unknown(options, OPTIONS)
    said = {option: value for option, value in options.items() if value is not None}
    for field, value in {"args": list(args), "kwargs": kwargs or {}, **said}.items():
        if not is_json(value):
            raise InvalidJob(field, f"what JSON has is expected, and no NUL, not {value!r}")
    return {"task": task, "args": list(args), "kwargs": dict(kwargs or {}), "options": said}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not is_json(name) or not 1 <= len(name.encode()) <= LONGEST_NAME:
        raise InvalidJob("name", f"a text of 1 to {LONGEST_NAME} bytes is expected, not {name!r}")
    return name


def _one_of(known: tuple[str, ...], field: str, value: Any) -> str:
    if value not in known:
        raise InvalidJob(field, f"{' or '.join(known)} is expected, not {value!r}")
    return str(value)


def values_of(schedule: Schedule) -> dict[str, Any]:
    """What a stored schedule makes."""
    return {name: getattr(schedule, name) for name in ("name", "task", "args", "kwargs", "options")}


def gather(plugin: Plugin, values: Mapping[str, Any]) -> list[Gathered]:
    """The job that a schedule makes, and then what its making has enqueued beside it; nothing is stored or sent.

    Raises what an enqueue raises.
    """
    options = dict(values["options"])
    options["tags"] = _tagged(options.get("tags"), values["name"])
    batch = Batch(plugin)
    with batch.gathering():
        result = enqueueing.submit(plugin, values["task"], values["args"], values["kwargs"], options)
    mine = [entry for entry in batch.gathered if entry.job.task_id == result.id]
    if not mine:
        raise InvalidJob("task", f"a call of {values['task']} made no job")
    return [*mine, *(entry for entry in batch.gathered if entry not in mine)]


def _tagged(tags: Any, name: str) -> Any:
    """The tags of a job with that of its schedule, which is found as `schedule:name` either way."""
    if isinstance(tags, list | tuple):
        return [*tags, enqueued_by(name)]
    if isinstance(tags, dict) and TAG in tags:
        raise InvalidJob("tags", f"{TAG!r} is the tag that names the schedule itself")
    return {**tags, TAG: name} if isinstance(tags, dict) else {TAG: name} if tags is None else tags


def enqueued_by(name: str) -> str:
    """The tag by which the jobs of a schedule are found."""
    return f"{TAG}:{name}"
