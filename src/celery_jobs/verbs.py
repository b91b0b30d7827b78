"""What can be done to stored runs: replay, cancel, fire, purge, delete; each for one and for many.

A verb is called with chains as they were read, does its work in guarded transactions, and gives by original's id
the error that kept each of the others out. `dry_run`: it only looks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from celery_jobs.batch import outgoing
from celery_jobs.errors import (
    JobDeadLettered,
    JobEnded,
    JobNotFound,
    JobRunning,
    JobsError,
    JobUntold,
    NotDeadLettered,
)
from celery_jobs.events import Kind, emit
from celery_jobs.replaying import Replays
from celery_jobs.sending import sender_of
from celery_jobs.states import FinalStatus, Status
from celery_jobs.store import dead_letters, endings, reads, sends
from celery_jobs.telling import cancel_waiting, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.filters import Where
    from celery_jobs.store.rows import Enqueued, Job, NewJob

__all__ = ["MEANT", "Cancel", "Chain", "Delete", "Fire", "Purge", "Refusals", "Replay", "Verb"]

Chain = list["Job"]
Refusals = dict[str, JobsError]

_DEAD: Where = {"final_status": FinalStatus.DEAD_LETTERED}

MEANT: dict[str, Where] = {
    "replay": _DEAD,
    "cancel": {"ended": False},
    "fire": {"status": Status.PENDING},
    "purge": _DEAD,
    "delete": {},
    "erase": {"ended": True},
}
"""Which runs each verb is for where a filter says nothing of states, by the verb's name."""


class Verb(ABC):
    """One thing that can be done to runs; what it made of each original, where that is of use, is in `outcome`."""

    name: str

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.db = plugin.db

    @abstractmethod
    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Do it to these runs; gives the errors of those that it was not done to."""

    def _judge(self, chains: list[Chain]) -> tuple[list[Chain], Refusals]:
        """The chains that it can be done to, and why not to the others."""
        refused = {chain[0].id: error for chain in chains if (error := self._refusal(chain)) is not None}
        return [chain for chain in chains if chain[0].id not in refused], refused

    def _refusal(self, chain: Chain) -> JobsError | None:
        """Why it cannot be done to a run, as far as its rows say."""
        return None

    def _look_again(self, chains: list[Chain]) -> dict[str, JobsError | None]:
        """Why it cannot be done any more to runs that somebody else was quicker with, as their rows say now."""
        ids = [chain[0].id for chain in chains]
        found = {chain[0].id: self._refusal(chain) for chain in reads.runs_of(self.db, ids)}
        return {id: found[id] if id in found else JobNotFound(id) for id in ids}


class Replay(Verb):
    """Begin a new chain with the configuration of an ended run, sent at once (semantics.md section 7)."""

    name = "replay"

    def __init__(self, plugin: Plugin, reason: str | None, force: bool) -> None:
        super().__init__(plugin)
        self.reason = reason
        self.force = force
        self.outcome: dict[str, str] = {}
        """The new job's id by what it replays."""

    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Replay these runs."""
        allowed, refused = self._judge(chains)
        new = self._prepare([chain[0] for chain in allowed], refused)
        if new and not dry_run:
            self._begin(new, refused)
        return refused

    def _refusal(self, chain: Chain) -> JobsError | None:
        try:
            dead_letters.require_replayable(chain[0], self.force)
        except JobsError as error:
            return error
        return None

    def _prepare(self, originals: list[Job], refused: Refusals) -> list[NewJob]:
        messages = reads.messages_of(self.db, [original.id for original in originals])
        replays, new = Replays(self.plugin, self.reason), []
        for original in originals:
            try:
                if original.id not in messages:
                    raise JobNotFound(original.id)
                new.append(replays.make(original, messages[original.id]))
            except JobsError as error:
                refused[original.id] = error
        return new

    def _begin(self, new: list[NewJob], refused: Refusals) -> None:
        began = []
        for job, outcome in zip(new, dead_letters.replay_all(self.db, new, self.force), strict=True):
            if isinstance(outcome, JobsError):
                refused[str(job.replay_of)] = outcome
            else:
                self._note(job, outcome)
                if outcome.sent_at is not None:
                    began.append(outgoing(job, outcome))
        sender_of(self.plugin).send(began, announce=True)

    def _note(self, job: NewJob, begun: Enqueued) -> None:
        self.outcome[str(job.replay_of)] = begun.job_id
        emit(Kind.REPLAYED, job, job_id=job.id, original_id=job.replay_of)


class Cancel(Verb):
    """Cancel what waits at once, ask what runs to stop (semantics.md section 10)."""

    name = "cancel"

    def __init__(self, plugin: Plugin, terminate: bool = False) -> None:
        """`terminate`: what runs is killed."""
        super().__init__(plugin)
        self.terminate = terminate

    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Cancel these runs; one that is cancelled already is no error."""
        allowed, refused = self._judge(chains)
        if not dry_run:
            ids = [chain[0].id for chain in allowed]
            outcomes = {id: endings.cancel(self.db, id, terminate=self.terminate) for id in ids}
            _tell(self.plugin, [id for id, outcome in outcomes.items() if isinstance(outcome, endings.Ended)])
            late = self._look_again([chain for chain in allowed if outcomes[chain[0].id] is False])
            refused.update({id: error for id, error in late.items() if error is not None})
            for chain in allowed:
                if outcomes[chain[0].id] is True:
                    emit(Kind.CANCEL_REQUESTED, chain[-1])
        return refused

    def _refusal(self, chain: Chain) -> JobsError | None:
        original = chain[0]
        if original.ended_at is None or original.final_status == FinalStatus.CANCELLED:
            return None
        return JobEnded(f"the job {original.id} has ended as {original.final_status} and cannot be cancelled")


class Fire(Verb):
    """Make what waits due now and send it (semantics.md section 7)."""

    name = "fire"

    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Fire these runs; what is due already is no error."""
        allowed, refused = self._judge(chains)
        if allowed and not dry_run:
            waited, outgoing = sends.fire(self.db, [chain[0].id for chain in allowed])
            sender_of(self.plugin).send(outgoing, announce=True)
            for chain in allowed:
                if chain[0].id in waited:
                    emit(Kind.FIRED, chain[-1])
            left = self._look_again([chain for chain in allowed if chain[0].id not in waited])
            refused.update({id: error or _running(id) for id, error in left.items()})
        return refused

    def _refusal(self, chain: Chain) -> JobsError | None:
        original = chain[0]
        if original.ended_at is not None:
            return JobEnded(f"the job {original.id} has ended as {original.final_status}; nothing of it waits")
        return _running(original.id) if chain[-1].status == Status.PROCESSING else None


class Removal(Verb):
    """Delete runs for good, with all their attempts."""

    kind: Kind
    """The event of it."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__(plugin)
        self.outcome: dict[str, int] = {}
        """Attempts deleted, by original."""

    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Delete these runs."""
        allowed, refused = self._judge(chains)
        if not dry_run:
            self._settle(allowed)
            gone = self._remove([chain[0].id for chain in allowed])
            self._note_gone(allowed, gone, refused)
            self.outcome.update(gone)
        return refused

    def _settle(self, chains: list[Chain]) -> None:
        """Tell Celery of the ends that it has not heard of: of what is gone nobody could."""
        _tell(self.plugin, [chain[0].id for chain in chains if chain[0].untold_at is not None], again=True)

    @abstractmethod
    def _remove(self, original_ids: list[str]) -> dict[str, int]:
        """Delete what may go of these; the attempts deleted, by original."""

    def _note_gone(self, chains: list[Chain], gone: dict[str, int], refused: Refusals) -> None:
        for chain in chains:
            if chain[0].id in gone:
                emit(self.kind, chain[-1])
        left = [chain[0].id for chain in chains if chain[0].id not in gone]
        found = {chain[0].id: chain for chain in reads.runs_of(self.db, left)}
        refused.update({id: self._why_left(found[id]) if id in found else JobNotFound(id) for id in left})

    def _why_left(self, chain: Chain) -> JobsError:
        """Why a run was not deleted that could have been by its rows."""
        original = chain[0]
        if original.untold_at is None:
            return self._refusal(chain) or _running(original.id)
        return JobUntold(
            f"the end of the job {original.id} could not be told to Celery yet: its result store does not answer; "
            "try again when it does"
        )


class Purge(Removal):
    """Delete entries of the dead-letter queue for good (semantics.md section 7)."""

    name = "purge"
    kind = Kind.PURGED

    def _remove(self, original_ids: list[str]) -> dict[str, int]:
        return dead_letters.purge(self.db, original_ids)

    def _refusal(self, chain: Chain) -> JobsError | None:
        if chain[0].final_status == FinalStatus.DEAD_LETTERED:
            return None
        return NotDeadLettered(f"the job {chain[0].id} is not in the dead-letter queue")


class Delete(Removal):
    """Delete runs that wait or have ended outside the dead-letter queue (semantics.md section 7)."""

    name = "delete"
    kind = Kind.DELETED

    def _settle(self, chains: list[Chain]) -> None:
        """What waits is cancelled first, so that Celery hears of it."""
        cancel_waiting(self.plugin, [chain[0].id for chain in chains if chain[0].ended_at is None])
        super()._settle(chains)

    def _remove(self, original_ids: list[str]) -> dict[str, int]:
        return dead_letters.delete(self.db, original_ids)

    def _refusal(self, chain: Chain) -> JobsError | None:
        if chain[0].final_status == FinalStatus.DEAD_LETTERED:
            return JobDeadLettered(f"the job {chain[0].id} is in the dead-letter queue; purge it instead")
        return _running(chain[0].id) if chain[-1].status == Status.PROCESSING else None


def _running(original_id: str) -> JobRunning:
    return JobRunning(f"the job {original_id} is running now; cancel it, or wait for its end")


def _tell(plugin: Plugin, original_ids: Iterable[str], again: bool = False) -> None:
    """Tell Celery of verdicts; where its result store is away, a service tells the rest later."""
    for original_id in original_ids:
        if not tell(plugin, original_id, again):
            return
