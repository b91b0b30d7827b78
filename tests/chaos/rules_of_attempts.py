"""The rules of single attempts: claimed before they run, run by one at a time, with one outcome, never early."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.chaos import terms
from tests.chaos.evidence import PENDING, PROCESSING, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.evidence import Evidence, Execution, Row, Transition

SAME_CLOCK = 0.005
"""Seconds that two clocks of one machine may differ by."""

ALLOWED = {
    None: (PENDING,),
    PENDING: (PENDING, PROCESSING, "cancelled", "failed"),
    PROCESSING: (PROCESSING, PENDING, *TERMINAL),
}
"""The states that each state may become; none follows an end."""


def c3_one_outcome(evidence: Evidence) -> Iterator[str]:
    """States change only as they may, an end never; a result comes from the claim that the row names, after its run."""
    for change in evidence.transitions:
        if change.op in ("insert", "update") and change.after not in ALLOWED.get(change.before, ()):
            yield f"the job {change.job} went from {change.before} to {change.after}"
    returned = {run.token: run.end.wall for run in evidence.executions if run.end is not None and run.returned}
    for row in evidence.rows:
        if row.status != "completed":
            continue
        if _result(row).get("claim") != row.lease_token:
            yield f"job {row.number} ({row.id}) has the result of another claim than its own"
        if returned.get(str(row.lease_token), float("inf")) > (row.finished_at or 0) + SAME_CLOCK:
            yield f"job {row.number} ({row.id}) was completed before the execution that its claim names had returned"


def _result(row: Row) -> dict[str, Any]:
    found = json.loads(row.result or "{}")
    return found if isinstance(found, dict) else {}


def c5_attempts_contiguous(evidence: Evidence) -> Iterator[str]:
    """Attempts are 1 to k, each made after the one before had failed, within the policy's number."""
    for chain in evidence.chains.values():
        numbers = [row.attempt_number for row in chain]
        if numbers != list(range(1, len(chain) + 1)):
            yield f"job {chain[0].number} has the attempts {numbers}"
        for before, after in pairwise(chain):
            if before.status != "failed" or (before.finished_at or 0) > after.created_at + SAME_CLOCK:
                yield f"job {after.number}: attempt {after.attempt_number} was made before the last had failed"
        if chain[-1].policy_retries + 1 > chain[0].max_attempts:
            yield f"job {chain[0].number} was tried {chain[-1].policy_retries + 1} times of {chain[0].max_attempts}"


def c6_one_at_a_time(evidence: Evidence) -> Iterator[str]:
    """Two executions of one chain overlap only where the earlier one's claim was lost with its worker."""
    chains: dict[str, list[Execution]] = defaultdict(list)
    for run in evidence.executions:
        if run.job in evidence.by_id:
            chains[evidence.by_id[run.job].original_id].append(run)
    for runs in chains.values():
        for index, earlier in enumerate(runs):
            for later in runs[index + 1 :]:
                overlap = earlier.end is not None and earlier.end.mono > later.start.mono
                if overlap and not _was_lost(evidence, earlier, later.start.wall):
                    yield f"job {later.number} ran twice at once, and nobody had lost the first"


def _was_lost(evidence: Evidence, run: Execution, by: float) -> bool:
    """Whether a claim had been taken from a worker that was dead, killed or stopped, before the moment."""
    mine = [c for c in evidence.changes.get(run.job, ()) if c.old_token == run.token or c.token == run.token]
    taken = [change for change in mine if change.before == PROCESSING and change.after != PROCESSING]
    workers = {change.worker for change in mine if change.is_claim}
    dead = any(change.op == "dead" and change.worker in workers for change in evidence.transitions)
    hit = any(event.wall <= by for event in evidence.hits.get(run.start.pid, ()))
    return any(change.at <= by + SAME_CLOCK for change in taken) and (dead or hit)


def c7_execution_count(evidence: Evidence) -> Iterator[str]:
    """An attempt runs once, and once more for each time that it was given back; each of those has a reason."""
    runs = Counter(run.job for run in evidence.executions)
    released = {event["job"] for event in evidence.of("product", "job.released")}
    for row in evidence.rows:
        returns = [change for change in evidence.changes.get(row.id, ()) if change.is_return]
        if runs[row.id] > 1 + len(returns):
            yield f"attempt {row.attempt_number} of job {row.number} ran {runs[row.id]} times, lost {len(returns)}"
        if row.status == "completed" and not runs[row.id]:
            yield f"attempt {row.attempt_number} of job {row.number} was completed and never ran"
        if any(not change.is_loss for change in returns) and row.id not in released:
            yield f"attempt {row.attempt_number} of job {row.number} was given back without a loss or a release"


def c9_claims_account_for_runs(evidence: Evidence) -> Iterator[str]:
    """Each execution has a claim of its token before it; a claim without an execution completes nothing."""
    claims: dict[str | None, list[Transition]] = defaultdict(list)
    for change in evidence.transitions:
        if change.is_claim:
            claims[change.token].append(change)
    started = Counter(run.token for run in evidence.executions)
    for run in evidence.executions:
        mine = [claim for claim in claims[run.token] if claim.job == run.job]
        if not any(claim.at <= run.start.wall + SAME_CLOCK for claim in mine):
            yield f"job {run.number} ({run.job}) ran without a claim"
    for token, count in started.items():
        if count > max(1, len(claims[token])):
            yield f"the claim {token} ran {count} times"


def c11_workers_consume(evidence: Evidence) -> Iterator[str]:
    """Each worker that is up after the healing has run a job since."""
    for healed in evidence.of("healed"):
        served = {run.start["slot"] for run in evidence.executions if run.start.mono > healed.mono}
        for slot in healed["slots"]:
            if slot not in served:
                yield f"the worker {slot} is up and has run nothing since the healing"


def c12_isolation(evidence: Evidence) -> Iterator[str]:
    """No row has another job's result, and no row's execution another job's arguments."""
    for row in evidence.rows:
        if row.status == "completed" and _result(row).get("answer") != terms.answer(row.number):
            yield f"job {row.number} ({row.id}) has the result {row.result}"
    for run in evidence.executions:
        row_of = evidence.by_id.get(run.job)
        if row_of is not None and row_of.number != run.number:
            yield f"job {row_of.number} ({run.job}) ran with the arguments of job {run.number}"


def c13_never_early(evidence: Evidence) -> Iterator[str]:
    """No claim before its moment; a delay counts from the enqueue, a retry's from the failure before it."""
    for row in evidence.rows:
        claims = [change.at for change in evidence.changes.get(row.id, ()) if change.is_claim]
        if any(at < row.scheduled_at for at in [*claims, row.started_at or row.scheduled_at]):
            yield f"job {row.number} ({row.id}) was claimed before it was due"
        invoke = evidence.invokes.get(row.number)
        if row.attempt_number > 1 or row.replay_of is not None or invoke is None:
            continue
        if row.scheduled_at < invoke.wall + (invoke["delay"] or 0) - SAME_CLOCK:
            yield f"job {row.number} was due before its delay was over"
    for chain in evidence.chains.values():
        for before, after in pairwise(chain):
            delay = terms.RETRY_DELAYS[min(before.policy_retries, len(terms.RETRY_DELAYS) - 1)]
            if after.scheduled_at < (before.finished_at or 0) + delay - SAME_CLOCK:
                yield f"job {after.number}: attempt {after.attempt_number} was due before its delay was over"


def c24_tokens_go_on(evidence: Evidence) -> Iterator[str]:
    """A claim is never taken over while it stands, and a token does not come back after another."""
    for job, changes in evidence.changes.items():
        tokens: list[str | None] = []
        for change in changes:
            if change.before == PROCESSING == change.after and change.token != change.old_token:
                yield f"the job {job} was claimed while it was claimed"
            if change.is_claim and change.token in tokens[:-1]:
                yield f"the token {change.token} of the job {job} came back"
            if change.is_claim and change.token not in tokens[-1:]:
                tokens.append(change.token)


def c27_limits_hold(evidence: Evidence) -> Iterator[str]:
    """At no moment more jobs of a key are processing than the one that starts then is held to."""
    running: dict[str, set[str]] = defaultdict(set)
    for change in evidence.transitions:
        row = evidence.by_id.get(change.job or "")
        if row is None or row.concurrency_key is None:
            continue
        held = running[row.concurrency_key]
        held.discard(row.id)
        if change.after == PROCESSING:
            held.add(row.id)
        if change.is_claim and len(held) > (row.concurrency_limit or 1):
            yield f"{len(held)} jobs of the key {row.concurrency_key} ran at once when job {row.number} was claimed"
