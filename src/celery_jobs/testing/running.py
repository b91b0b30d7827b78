"""Running what waits in a sandbox, in the order that its clock says."""

from __future__ import annotations

import warnings
from itertools import count
from typing import TYPE_CHECKING

from celery_jobs.store import reads
from celery_jobs.testing.attempts import run_job, run_message
from celery_jobs.testing.broker import Kept
from celery_jobs.testing.complaints import JobsLeftWaiting, SandboxError
from celery_jobs.testing.waiting import Waiting, all_waiting, next_waiting

if TYPE_CHECKING:
    from celery_jobs.testing.isolation import Isolated

__all__ = ["run_next", "run_waiting", "warn_of_the_rest"]

MOST_NAMED = 10
"""Jobs left waiting that a warning names."""


def run_next(inside: Isolated, original_id: str) -> None:
    """Run the pending attempt of a chain, moving the clock on to it; raises SandboxError where it cannot run."""
    waiting = next(iter(all_waiting(inside.db, chain=original_id)), None)
    if waiting is None:
        original = reads.attempts(inside.db, original_id)[0]
        state = f"has ended as {original.final_status}" if original.ended_at else "is running"
        raise SandboxError(f"nothing of the run {original_id} waits: it {state}")
    obstacle = waiting.obstacle(inside.tasks)
    if obstacle is not None:
        raise SandboxError(f"the job {waiting.id} cannot run: {obstacle}")
    _run(inside, waiting)


def run_waiting(inside: Isolated, queue: str | None, most: int, only_due: bool) -> list[str]:
    """Run what waits, of a queue or of all, and what comes to wait; gives the originals, in order of first running.

    `only_due`: the clock stays where it is. Raises SandboxError after `most` runs.
    """
    originals: dict[str, None] = {}
    for done in count():
        step = _next(inside, queue, only_due)
        if step is None:
            break
        if done == most:
            raise SandboxError(
                f"{most:,} attempts were run and jobs still wait, the next of {step.task}: does a task enqueue itself, "
                "retry or reject(requeue=True) for ever? If it is to be so many, say most="
            )
        _run(inside, step)
        if isinstance(step, Waiting):
            originals.setdefault(step.original_id)
    return list(originals)


def _next(inside: Isolated, queue: str | None, only_due: bool) -> Waiting | Kept | None:
    """The first to run; at the same moment what is no job goes first, as it may be what jobs wait for."""
    waiting = (inside.kept.next(inside.tasks, queue), next_waiting(inside.db, list(inside.tasks), queue))
    steps = [step for step in waiting if step and (not only_due or step.scheduled_at <= inside.clock.now)]
    return min(steps, key=lambda step: step.scheduled_at, default=None)


def _run(inside: Isolated, step: Waiting | Kept) -> None:
    inside.clock.reach(step.scheduled_at)
    if isinstance(step, Kept):
        run_message(inside.plugin, step.task, inside.kept.take(step))
    else:
        run_job(inside.plugin, step)


def warn_of_the_rest(inside: Isolated, queue: str | None, stacklevel: int) -> None:
    """Warn of the jobs that cannot run, and say why."""
    left = [job for job in all_waiting(inside.db, queue) if job.task is not None]  # what has none is not run in here
    words = [f"{job.task}, job {job.id}: {job.obstacle(inside.tasks)}" for job in left] + [
        f"{kept.task}, no job: the app does not know it; import the module that defines it"
        for kept in inside.kept
        if queue in (None, kept.queue)
    ]
    if words:
        more = [] if len(words) <= MOST_NAMED else [f"… and {len(words) - MOST_NAMED} more"]
        lines = "".join(f"\n  {line}" for line in words[:MOST_NAMED] + more)
        warnings.warn(f"left waiting after drain:{lines}", JobsLeftWaiting, stacklevel=stacklevel + 1)
