"""Sandbox(app): a test's own jobs, run in its process on a clock that it moves."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from celery_jobs.callbacks import Callback, due_callbacks
from celery_jobs.jobs import Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.runs import make_run
from celery_jobs.states import FinalStatus
from celery_jobs.store import reads
from celery_jobs.testing.complaints import SandboxError
from celery_jobs.testing.history import all_runs
from celery_jobs.testing.isolation import Isolated, isolated
from celery_jobs.testing.matching import Call, Wanted, read_call, want
from celery_jobs.testing.responses import canned
from celery_jobs.testing.running import run_next, run_waiting, warn_of_the_rest

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from celery import Celery

    from celery_jobs.runs import Run
    from celery_jobs.testing.internet import SentRequest
    from celery_jobs.testing.responses import Fault

__all__ = ["Sandbox"]

MOST = 1000
"""Attempts that a verb runs before it takes them for endless."""

MOST_SHOWN = 50
"""Runs that a failing assertion lists."""


class Sandbox:
    """An app's jobs in a temporary database, without broker, result server or worker; all is put back at the end.

    `.delay()` makes real rows, and attempts run with the real claim, policy and finish. What is not here: time
    limits, which only a worker's pool enforces, and Celery's remote control; cancel with `sandbox.jobs.cancel`.
    Results are kept in memory whatever the app's result backend is, and `task_always_eager` is off. Messages of
    tasks that are no jobs, Celery's own among them, are run by `drain` and `run_due`. HTTP jobs get the responses that
    `respond` gives; one that gets none is given back, and SandboxError is raised by the verb that runs it.

    All verbs raise SandboxError once it is closed.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._opened = ExitStack()
        self._isolated: Isolated | None = None
        plugin_of(app)

    def start(self) -> Sandbox:
        """Open; raises SandboxError where the app is in a sandbox already."""
        self._isolated = self._opened.enter_context(isolated(self.app))
        return self

    def stop(self) -> None:
        """Close, and put everything back; closing again is no error."""
        self._isolated = None
        self._opened.close()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _inside(self) -> Isolated:
        if self._isolated is None:
            raise SandboxError("the sandbox is not open: use it as `with Sandbox(app) as sandbox:`")
        return self._isolated

    @property
    def jobs(self) -> Jobs:
        """Every verb that a person or a program has for the jobs in here."""
        return Jobs(self._inside.plugin.app)

    @property
    def now(self) -> datetime:
        """The virtual time, in UTC. It began at the real one and moves only when told, or to what is run."""
        return self._inside.clock.now

    def advance(self, by: float | timedelta) -> datetime:
        """Let time pass, in seconds or as a timedelta, and give the new time. Runs nothing.

        Raises ValueError for a step back.
        """
        return self._inside.clock.advance(by)

    def run(self, id: str) -> Run:
        """Run the next attempt of one run, moving the clock on to it if it waits; gives the run.

        Raises JobNotFound, and SandboxError where nothing of it waits or it cannot run.
        """
        original_id = self.jobs.get(id).id
        run_next(self._inside, original_id)
        return make_run(reads.attempts(self._inside.db, original_id))

    def run_to_end(self, id: str, most: int = MOST) -> Run:
        """Run one run until its verdict, moving the clock through its retries; gives the run.

        What follows it, such as the next step of a chain, is left waiting. Raises as `run` does, and
        SandboxError after `most` attempts.
        """
        run = self.run(id)
        for _ in range(most - 1):
            if run.has_ended:
                return run
            run = self.run(run.id)
        if not run.has_ended:
            raise SandboxError(f"{most:,} attempts were run and {run.task} has no verdict: does it retry for ever?")
        return run

    def run_due(self, queue: str | None = None, most: int = MOST) -> list[Run]:
        """Run what is due now, and what becomes due now by that; the clock stays. Gives each run once.

        Raises SandboxError after `most` attempts.
        """
        return self._get(run_waiting(self._inside, queue, most, only_due=True))

    def drain(self, queue: str | None = None, most: int = MOST) -> list[Run]:
        """Run everything that waits and comes to wait, by due time, then priority, then age, moving the clock on.

        Gives each run once, in the order they began, as it is at the end. Warns with JobsLeftWaiting of jobs that
        cannot run: of paused queues and of tasks that the app lacks. Raises SandboxError after `most` attempts.
        """
        ran = run_waiting(self._inside, queue, most, only_due=False)
        warn_of_the_rest(self._inside, queue, stacklevel=2)
        return self._get(ran)

    def enqueued(
        self,
        task: Any = None,
        queue: str | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> list[Run]:
        """The runs that were enqueued like this, oldest first, whatever has become of them since.

        `task`: a task or its name; `args`, `kwargs`: as a worker would read them; `more`: `delay` (seconds), or a
        column of the first attempt: `priority`, `tags`, `idempotency_key` … Raises TypeError for others.
        """
        return [call.run for call in self._like(want(task, queue, args, kwargs, **more))]

    def assert_enqueued(
        self,
        task: Any,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        times: int | None = None,
        delay: float | timedelta | None = None,
        **more: Any,
    ) -> Run:
        """Give the last run that was enqueued like this; AssertionError, listing what was, where there is none.

        `times`: exactly so many; the rest as for `enqueued`.
        """
        if times is not None and times < 1:
            raise ValueError("times counts from 1; for none at all use assert_not_enqueued")
        wanted = want(task, queue, args, kwargs, delay=delay, **more)
        found = self._like(wanted)
        if not found or times not in (None, len(found)):
            number = "was not enqueued" if not found else f"was enqueued {len(found)} times"
            expected = "" if times is None else f", not {times}"
            raise AssertionError(f"{wanted} {number}{expected}; {self._listing(wanted)}")
        return found[-1].run

    def assert_not_enqueued(
        self,
        task: Any = None,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **more: Any,
    ) -> None:
        """AssertionError, listing what was enqueued, where a run was enqueued like this; as `enqueued` takes it."""
        wanted = want(task, queue, args, kwargs, **more)
        if self._like(wanted):
            raise AssertionError(f"{wanted} was enqueued; {self._listing(wanted)}")

    @property
    def dead_letters(self) -> list[Run]:
        """The dead-letter queue, oldest entry first."""
        dead = [run for run in self._runs() if run.final_status == FinalStatus.DEAD_LETTERED]
        return sorted(dead, key=lambda run: (run.dead_lettered_at or run.created_at, run.id))

    def respond(
        self,
        url: str | re.Pattern[str],
        *,
        method: str | None = None,
        status: int = 200,
        json: Any = None,
        body: str | bytes | None = None,
        headers: Mapping[str, object] | None = None,
        delay: float | timedelta = 0,
        fault: Fault | None = None,
    ) -> None:
        """Give the response to requests of HTTP jobs, without which there is none.

        `url`: all of it, query included, or a pattern of `re` that matches its beginning; `method`: any by default.
        `delay`: seconds on the virtual clock; `fault`: a failure reason instead of a response. What is given for the
        same URL and method answers in that order, the last again and again; where several fit, a whole URL goes before
        a pattern, and a named method before any. Raises ValueError, and InvalidUrl for a URL that no job can have.
        """
        response = canned(status, json, body, headers, delay, fault)
        self._inside.internet.responses.give(method, url, response)

    @property
    def requests(self) -> list[SentRequest]:
        """The requests of HTTP jobs, oldest first, with those that met a fault or followed a redirect."""
        return list(self._inside.internet.requests)

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks that are due, in order of time: one for each attempt that has ended of a job with a URL."""
        due = [callback for run in self._runs() for callback in due_callbacks(run.attempts)]
        return sorted(due, key=lambda callback: (callback.at, callback.attempt_id))

    def _like(self, wanted: Wanted) -> list[Call]:
        return [call for call in self._calls() if wanted.fits(call)]

    def _listing(self, wanted: Wanted) -> str:
        calls = self._calls()
        if not calls:
            return "nothing was enqueued"
        lines = [call.describe(tuple(wanted.columns)) for call in calls[-MOST_SHOWN:]]
        kind = (
            "enqueued were:" if len(calls) <= MOST_SHOWN else f"the last {MOST_SHOWN} of {len(calls):,} enqueued were:"
        )
        return "\n  ".join([kind, *lines])

    def _calls(self) -> list[Call]:
        return [read_call(self._inside.plugin, run) for run in self._runs()]

    def _runs(self) -> list[Run]:
        """Every run as it is stored, oldest first."""
        return all_runs(self._inside.db)

    def _get(self, ids: list[str]) -> list[Run]:
        runs = {run.id: run for run in self._runs()}
        return [runs[id] for id in ids if id in runs]
