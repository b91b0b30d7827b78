"""Jobs(app): every verb that a person or a program has for jobs. CLI, REST and dashboard call these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from celery_jobs import bulk, enqueueing, verbs
from celery_jobs.arguments import Arguments, read_arguments
from celery_jobs.audit_log import AuditLog
from celery_jobs.batch import Batch
from celery_jobs.bulk import Preview
from celery_jobs.callbacks import ended_attempt
from celery_jobs.erasing import Erase
from celery_jobs.errors import AmbiguousId, JobNotFound
from celery_jobs.examination import Examination
from celery_jobs.following import Following
from celery_jobs.ids import parse_id
from celery_jobs.keys import KeyVerbs
from celery_jobs.moments import plain
from celery_jobs.outside import OutsideWorkers
from celery_jobs.plugin import plugin_of
from celery_jobs.queues import Queues
from celery_jobs.runs import MARKS, Page, Run, make_run, masked
from celery_jobs.schedules import Schedules
from celery_jobs.store import callbacks, reads
from celery_jobs.store.filters import Filter
from celery_jobs.tokens import Tokens
from celery_jobs.vitals import Vitals
from celery_jobs.waiting import wait_for_end

if TYPE_CHECKING:
    from builtins import list as List
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from celery import Celery
    from celery.canvas import Signature

    from celery_jobs.bulk import BulkOptions, BulkResult
    from celery_jobs.runs import EnqueueOutcome
    from celery_jobs.store.filters import Where
    from celery_jobs.store.rows import Job

__all__ = ["Jobs"]

VerbName = Literal["replay", "cancel", "fire", "purge", "delete", "erase"]

MOST_LISTED = 1000


class Jobs(Queues, KeyVerbs, OutsideWorkers, Schedules, Following, Tokens, AuditLog, Vitals, Examination):
    """The jobs of one Celery app. Every id may be a job's or a Celery task id (of which the newest chain counts).

    All verbs raise StoreUnavailable where the database does not answer. What `jobs_redact` names is masked in
    everything they give.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._plugin = plugin_of(app)

    def enqueue(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Run:
        """Enqueue a task by name and give its run, at once also inside a batch.

        `priority` is higher first, `delay` 0 to 86,400 seconds; takes Celery's options and ours (semantics.md
        section 4). With a key that is known it gives that job, marked `deduplicated`, or `replaced`. Raises InvalidJob,
        PayloadTooLarge.
        """
        with Batch(self._plugin).gathering(active=False):
            result = enqueueing.submit(self._plugin, name, args, kwargs or {}, dict(options))
        marks = {name: getattr(result, name) for name in MARKS}
        session = options.get("session")
        if session is None:
            return replace(self.get(result.job_id), **marks)
        chain = reads.attempts_in(self._plugin.db, session, result.job_id)
        return replace(make_run(self._masked(chain)), **marks)

    def enqueue_http(self, url: str, queue: str | None = None, **options: Any) -> Run:
        """Enqueue an HTTP request and give its run: `enqueue` of the task `celery_jobs.http.request`.

        Of the request: `method` (POST), `headers`, `payload` (JSON) or `body` (text or bytes), `timeout` (seconds, 1 to
        300), `assertions`, `follow_redirects`, `sign`, `no_retry_statuses`; of the job: the options of `enqueue`.
        Raises InvalidJob that names the option at fault, before anything is written.
        """
        name, arguments = enqueueing.http_call(url, options)
        return self.enqueue(name, kwargs=arguments, **({} if queue is None else {"queue": queue}), **options)

    def enqueue_many(
        self, items: Iterable[Signature | Mapping[str, Any]], atomic: bool = False, **defaults: Any
    ) -> List[EnqueueOutcome]:
        """Enqueue up to 10,000 items; gives what became of each, in their order.

        An item is a signature, or an object with `task`, `args`, `kwargs` and options; `defaults` are options of all.
        A bad item is an outcome with its error and the others go ahead, unless `atomic`: then all or none, and
        InvalidJob names the item. Two items with one idempotency key make one job.
        """
        return enqueueing.enqueue_many(self._plugin, items, atomic, defaults)

    def batch(self, session: Any = None) -> AbstractContextManager[None]:
        """Gather the plain `.delay()` calls made inside: stored in one transaction at the end, all or none.

        Their results have their `job_id` from then on. Where the block raises, nothing is stored. `session`: a
        SQLAlchemy Session or Connection, or a Django connection, whose transaction they are to be part of.
        """
        return enqueueing.batch(self._plugin, session)

    @overload
    def get(self, id: str, attempts: Literal[False] = False) -> Run: ...

    @overload
    def get(self, id: str, attempts: Literal[True]) -> List[Job]: ...

    def get(self, id: str, attempts: bool = False) -> Run | List[Job]:
        """The run of an id, or with `attempts` its rows in order; raises JobNotFound."""
        chain = self._masked(self._chain(id))
        return chain if attempts else make_run(chain)

    def find(self, prefix: str) -> str:
        """The run's id that an id, a Celery task id or the beginning of a job's id means.

        Raises JobNotFound, and AmbiguousId where several jobs begin so.
        """
        found = reads.find_original(self._plugin.db, prefix)
        if found is not None:
            return found
        candidates = reads.with_prefix(self._plugin.db, prefix, 5)
        if len(candidates) > 1:
            raise AmbiguousId(prefix, candidates)
        if not candidates:
            raise JobNotFound(prefix)
        return candidates[0]

    def arguments(self, id: str) -> Arguments:
        """What a run's task was called with; raises JobNotFound."""
        original = self._chain(id)[0]
        if original.erased_at is not None:
            return Arguments(unreadable=f"erased at {plain(original.erased_at)}")
        message = reads.message_of(self._plugin.db, original.id)
        if message is None:
            raise JobNotFound(id)
        return read_arguments(self._plugin, original.task, message)

    def list(self, limit: int = 50, cursor: str | None = None, **where: Unpack[Where]) -> Page:
        """Runs, newest first, at most `limit` (1 to 1,000) a page; `where`: the fields of a Filter.

        A page ends early, `partial`, where there were no more among 20,000 jobs; its cursor goes on. Raises ValueError
        naming what is wrong.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_LISTED:
            raise ValueError(f"limit must be from 1 to {MOST_LISTED:,}, not {limit!r}")
        before = parse_id(cursor) if cursor is not None else None
        if cursor is not None and before is None:
            raise ValueError(f"cursor: the cursor of another page is expected, not {cursor!r}")
        found = reads.runs(self._plugin.db, Filter(**where), limit, before)
        return Page(tuple(make_run(self._masked(chain)) for chain in found.chains), found.cursor, found.partial)

    def count(self, **where: Unpack[Where]) -> int:
        """How many runs a filter means."""
        return reads.count(self._plugin.db, Filter(**where))[0]

    def wait(self, id: str, timeout: float | None = None) -> Run:
        """Wait for a run's end, `timeout` seconds at most; gives it ended. Raises JobNotFound, WaitTimeout."""
        return wait_for_end(lambda: self.get(id), timeout)

    def cancel(self, id: str, terminate: bool = False) -> Run:
        """Cancel a run: at once what waits; what runs is asked to stop, or killed (`terminate`). Again is no error.

        Raises JobNotFound, and JobEnded for a run that ended otherwise (semantics.md section 10).
        """
        return self.get(self._do(verbs.Cancel(self._plugin, terminate), id))

    def replay(self, id: str, reason: str | None = None, force: bool = False) -> Run:
        """Begin a new chain with the configuration of an ended run, sent at once; gives the new run.

        Links, errbacks and the rest of a Celery chain run on; a group or chord hears nothing of it. Raises
        JobNotFound, JobNotEnded, AlreadyReplayed (unless `force`) and ArgumentsDoNotFit (semantics.md section 7).
        """
        verb = verbs.Replay(self._plugin, reason, force)
        return self.get(verb.outcome[self._do(verb, id)])

    def fire(self, id: str) -> Run:
        """Make what waits of a run due now and send it; raises JobNotFound, JobRunning, JobEnded."""
        return self.get(self._do(verbs.Fire(self._plugin), id))

    def resend_callback(self, id: str, attempt: int | None = None) -> Run:
        """Make a worker send a callback again, as soon as it looks, under the same `webhook-id`; gives the run.

        That of the latest end of a run, of the retry that the id is of, or of the attempt with the number `attempt`,
        whose `callback_state` is then `due`, or `sending` where it is being sent at this moment and was left alone.
        Raises JobNotFound, NoCallback, JobNotEnded, and ValueError for a number that no attempt has.
        """
        chain = self._chain(id)
        callbacks.resend(self._plugin.db, ended_attempt(chain, id, attempt).id)
        return self.get(chain[0].id)

    def purge(self, id: str) -> int:
        """Delete a dead-lettered run for good; gives the number of attempts deleted.

        Raises JobNotFound and NotDeadLettered (semantics.md section 7).
        """
        verb = verbs.Purge(self._plugin)
        return verb.outcome[self._do(verb, id)]

    def delete(self, id: str) -> int:
        """Delete a run that waits or has ended, for good; gives the number of attempts deleted.

        Raises JobNotFound, JobRunning, and JobDeadLettered for what is to be purged.
        """
        verb = verbs.Delete(self._plugin)
        return verb.outcome[self._do(verb, id)]

    def erase(self, id: str) -> Run:
        """Erase what an ended run was called with and what came of it, for good; that it was stays. Gives the run.

        Arguments, results, answers, error texts, URLs of callbacks, also in Celery's result store; not tags and keys.
        Again is no error. Raises JobNotFound, JobNotEnded, also while a callback is to be sent, and ResultsUnavailable.
        """
        return self.get(self._do(Erase(self._plugin), id))

    def replay_many(
        self,
        ids: Iterable[str] | None = None,
        reason: str | None = None,
        force: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkResult:
        """Replay runs by their ids or by a filter, without a status in it: the dead letters. See BulkOptions."""
        return self._many(verbs.Replay(self._plugin, reason, force), ids, options)

    def cancel_many(
        self, ids: Iterable[str] | None = None, terminate: bool = False, **options: Unpack[BulkOptions]
    ) -> BulkResult:
        """Cancel runs by their ids or by a filter, of which those that have not ended are meant. See BulkOptions."""
        return self._many(verbs.Cancel(self._plugin, terminate), ids, options)

    def fire_many(self, ids: Iterable[str] | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Fire runs by their ids or by a filter, of which those that wait are meant. See BulkOptions."""
        return self._many(verbs.Fire(self._plugin), ids, options)

    def purge_many(self, ids: Iterable[str] | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Purge dead letters by their ids or by a filter. See BulkOptions."""
        return self._many(verbs.Purge(self._plugin), ids, options)

    def delete_many(self, ids: Iterable[str] | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Delete runs by their ids or by a filter; dead letters and what runs are left alone. See BulkOptions."""
        return self._many(verbs.Delete(self._plugin), ids, options)

    def erase_many(self, ids: Iterable[str] | None = None, **options: Unpack[BulkOptions]) -> BulkResult:
        """Erase runs by their ids or by a filter, of which those that have ended are meant. See BulkOptions."""
        return self._many(Erase(self._plugin), ids, options)

    def preview(
        self, verb: VerbName, ids: Iterable[str] | None = None, after: str | None = None, **where: Unpack[Where]
    ) -> Preview:
        """What a bulk verb is about to go through, from behind the cursor `after`: the count, and the first five."""
        at = reads.database_time(self._plugin.db)
        selection = bulk.select(self._plugin, ids, where, verbs.MEANT[verb], after)
        first, _ = next(selection.batches(after, 5), ([], ""))
        chains = reads.runs_of(self._plugin.db, first)
        return Preview(selection.matched, tuple(make_run(self._masked(chain)) for chain in chains), at)

    def _many(self, verb: verbs.Verb, ids: Iterable[str] | None, options: BulkOptions) -> BulkResult:
        work, where, after = bulk.read_options(verb, options)
        return work.run(bulk.select(self._plugin, ids, where, verbs.MEANT[verb.name]), after)

    def _do(self, verb: verbs.Verb, id: str) -> str:
        """Do it to one run; gives the original's id."""
        chain = self._chain(id)
        refused = verb([chain])
        for error in refused.values():
            raise error
        return chain[0].id

    def _chain(self, id: str) -> List[Job]:
        original_id = reads.find_original(self._plugin.db, id)
        chain = [] if original_id is None else reads.attempts(self._plugin.db, original_id)
        if not chain:
            raise JobNotFound(id)
        return chain

    def _masked(self, chain: List[Job]) -> List[Job]:
        names = self._plugin.settings.redacted
        return [masked(job, names) for job in chain] if names else chain
