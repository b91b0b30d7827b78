"""Jobs(app): every verb that a person or a program has for jobs. CLI, REST and dashboard call these."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal, overload

from celery_jobs import replaying
from celery_jobs.errors import InvalidJob, JobEnded, JobNotFound
from celery_jobs.events import emit
from celery_jobs.options import NAMES
from celery_jobs.plugin import plugin_of
from celery_jobs.runs import Page, Run, make_run
from celery_jobs.sending import sender_of
from celery_jobs.states import FinalStatus
from celery_jobs.store import dead_letters, endings, invariants, reads
from celery_jobs.telling import decode_body, tell

if TYPE_CHECKING:
    from builtins import list as List
    from collections.abc import Mapping, Sequence

    from celery import Celery

    from celery_jobs.store.rows import Job

__all__ = ["Jobs"]

MOST_LISTED = 1000

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


class Jobs:
    """The jobs of one Celery app. Every id may be a job's or a Celery task id (of which the newest chain counts).

    All verbs raise StoreUnavailable where the database does not answer.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._plugin = plugin_of(app)

    def enqueue(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Run:
        """Enqueue a task by name and give its run; `priority` is higher first, `delay` 0 to 86,400 seconds.

        Takes Celery's options and ours (semantics.md section 4). Raises InvalidJob, PayloadTooLarge.
        """
        _refuse_unknown(options)
        self._require_job(name)
        if "priority" in options:
            options["job_priority"] = options.pop("priority")
        task = self.app.tasks.get(name)
        if task is not None:
            result = task.apply_async(tuple(args), dict(kwargs or {}), **options)
        else:
            result = self.app.send_task(name, tuple(args), dict(kwargs or {}), **options)
        return self.get(result.job_id)

    def _require_job(self, name: str) -> None:
        """Refuse what would be sent without a row."""
        if name not in self.app.tasks and not self._plugin.manages(name):
            raise InvalidJob("name", f"{name} is not known here, and this app's unknown tasks are no jobs")
        if not self._plugin.manages(name):
            raise InvalidJob("name", f"{name} is no job: give its task base=JobTask, or install(app) before it is made")
        if self.app.conf.task_always_eager:
            raise InvalidJob("name", "task_always_eager makes no rows; call the task itself, or switch it off")

    @overload
    def get(self, id: str, attempts: Literal[False] = False) -> Run: ...

    @overload
    def get(self, id: str, attempts: Literal[True]) -> List[Job]: ...

    def get(self, id: str, attempts: bool = False) -> Run | List[Job]:
        """The run of an id, or with `attempts` its rows in order; raises JobNotFound."""
        found = reads.attempts(self._plugin.db, self._original(id))
        if not found:
            raise JobNotFound(id)
        return found if attempts else make_run(found)

    def arguments(self, id: str) -> str:
        """A run's arguments as a person would write the call, `(1, 2, key='x')`; raises JobNotFound."""
        message = reads.message_of(self._plugin.db, self._original(id))
        if message is None:
            raise JobNotFound(id)
        try:
            args, kwargs, _ = decode_body(self._plugin, message)
        except Exception as error:
            return f"<{len(message.body):,} bytes of {message.content_type} that cannot be read here: {error}>"
        return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"

    def list(
        self,
        status: str | None = None,
        queue: str | None = None,
        task: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Runs, newest first, at most `limit` (1 to 1,000) a page.

        `status`: any status or final_status, as any of the documents spells it. Raises ValueError for others.
        """
        if not 1 <= limit <= MOST_LISTED:
            raise ValueError(f"limit must be from 1 to {MOST_LISTED:,}, not {limit}")
        which = reads.Filter(status=status, queue=queue, task=task, before=cursor)
        chains = reads.runs(self._plugin.db, which, limit + 1)
        runs = tuple(make_run(chain) for chain in chains[:limit])
        return Page(runs, runs[-1].id if len(chains) > limit else None)

    def cancel(self, id: str) -> Run:
        """Cancel a run: at once what waits; what runs is asked to stop. Cancelling again is no error.

        Raises JobNotFound, and JobEnded for a run that ended otherwise (semantics.md section 10).
        """
        original_id = self._original(id)
        outcome = endings.cancel(self._plugin.db, original_id)
        if isinstance(outcome, endings.Ended):
            tell(self._plugin, original_id)
        run = self.get(original_id)
        if outcome is False and run.final_status != FinalStatus.CANCELLED:
            raise JobEnded(f"the job {run.id} has ended as {run.final_status} and cannot be cancelled")
        return run

    def replay(self, id: str, reason: str | None = None, force: bool = False) -> Run:
        """Begin a new chain with the configuration of an ended run, sent at once; gives the new run.

        Raises JobNotFound, JobNotEnded, AlreadyReplayed (unless `force`) and ArgumentsDoNotFit
        (semantics.md section 7).
        """
        original = self.get(id, attempts=True)[0]
        dead_letters.require_replayable(original, force)
        message = reads.message_of(self._plugin.db, original.id)
        if message is None:
            raise JobNotFound(id)
        new = replaying.make_replay(self._plugin, original, message, reason)
        enqueued = dead_letters.replay(self._plugin.db, new, force)
        emit("job.replayed", new, job_id=new.id, original_id=original.id)
        if enqueued.sent_at is not None:
            sender_of(self._plugin).send_stored([new.id])
        return self.get(new.id)

    def purge(self, id: str) -> int:
        """Delete a dead-lettered run for good; gives the number of attempts deleted.

        Raises JobNotFound and NotDeadLettered (semantics.md section 7).
        """
        original = self.get(id, attempts=True)[0]
        if original.untold_at is not None:
            tell(self._plugin, original.id)
        return dead_letters.purge(self._plugin.db, original.id)

    def check(self) -> List[invariants.Violation]:
        """What breaks the invariants of semantics.md section 2; an empty list where all is well."""
        return invariants.check(self._plugin.db)

    def _original(self, id: str) -> str:
        original_id = reads.find_original(self._plugin.db, id)
        if original_id is None:
            raise JobNotFound(id)
        return original_id


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    known = NAMES | _CELERY_OPTIONS | {"priority"}
    for name in options:
        if name not in known or name == "job_priority":
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise InvalidJob(name, f"unknown option; {hint}")
