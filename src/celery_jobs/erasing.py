"""Erasing ended runs: what they were called with and what came of it goes; that they ran and how they ended stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs.errors import JobNotEnded, JobsError, JobUntold, ResultsUnavailable
from celery_jobs.events import Kind, emit
from celery_jobs.result_store import is_away
from celery_jobs.store import erasing, reads
from celery_jobs.store.callbacks import DUE, SENDING
from celery_jobs.telling import backend_of, tell
from celery_jobs.verbs import Verb

if TYPE_CHECKING:
    from celery_jobs.verbs import Chain, Refusals

__all__ = ["Erase"]


class Erase(Verb):
    """Erase what ended runs hold of others' data; their rows stay."""

    name = "erase"

    def __call__(self, chains: list[Chain], dry_run: bool = False) -> Refusals:
        """Erase these runs; one that is erased already is no error."""
        allowed, refused = self._judge(chains)
        if dry_run:
            return refused
        going = []
        for chain in allowed:
            error = self._forget(chain)
            if error is None:
                going.append(chain)
            else:
                refused[chain[0].id] = error
        erased = erasing.erase(self.db, [chain[0].id for chain in going])
        for chain in going:
            if chain[0].id in erased and chain[0].erased_at is None:
                emit(Kind.ERASED, chain[-1])
        left = self._look_again([chain for chain in going if chain[0].id not in erased])
        refused.update({id: error or _owing(id) for id, error in left.items()})
        return refused

    def _refusal(self, chain: Chain) -> JobsError | None:
        original = chain[0]
        if original.ended_at is None:
            return JobNotEnded(f"the job {original.id} has not ended; cancel it first, or wait for its end")
        # Before its result is forgotten: of what is refused nothing is.
        return _owing(original.id) if any(job.callback_state in (DUE, SENDING) for job in chain) else None

    def _forget(self, chain: Chain) -> JobsError | None:
        """Make Celery's result store forget it, after the end was told to whoever waits; why that cannot be done."""
        original = chain[0]
        if original.untold_at is not None and not tell(self.plugin, original.id, again=True):
            return JobUntold(f"the end of the job {original.id} could not be told to Celery yet; try again later")
        if original.task is None or reads.find_original(self.db, original.task_id) != original.id:
            return None  # the result of this task id is another chain's
        backend = backend_of(self.plugin, chain[-1])
        try:
            backend.forget(original.task_id)
        except NotImplementedError:
            return None  # it keeps nothing
        except Exception as error:
            if not is_away(backend, error):
                raise
            return ResultsUnavailable(f"Celery's result store does not answer; the job {original.id} is not erased yet")
        return None


def _owing(original_id: str) -> JobNotEnded:
    return JobNotEnded(f"a callback of the job {original_id} is still to be sent; erase it when it was, or has failed")
