"""The rules of whole jobs: what was enqueued is there once, ends once, and as it must."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.chaos import terms
from tests.chaos.evidence import PENDING, PROCESSING, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.evidence import Evidence, Row

RETURNS = ("ok", "long", "flaky", "overrun", "suicide", "hang")
"""Kinds of jobs whose body returns in the end, if it is let."""


def c1_no_loss(evidence: Evidence) -> Iterator[str]:
    """Each acknowledged enqueue has its job: one original of its own, or the one that it was told of; it has ended."""
    for number, ok in evidence.acknowledged.items():
        row = evidence.by_id.get(ok["job"])
        if row is None:
            yield f"job {number} ({ok['job']}) was acknowledged and is not there"
        elif row.ended_at is None:
            yield f"job {number} ({ok['job']}) was acknowledged and has not ended: {row.status}, {row.final_status}"
        own = len(evidence.roots.get(number, ()))
        if own != (0 if ok["deduplicated"] else 1):
            yield f"job {number} was acknowledged and has {own} originals"


def c2_no_ghost_or_duplicate(evidence: Evidence) -> Iterator[str]:
    """Refused: no row; unknown: at most one; never attempted: none; a key: one chain. Enqueues raise what they may."""
    for number, roots in evidence.roots.items():
        if number in evidence.refused:
            yield f"job {number} was refused and is there"
        if number not in evidence.invokes:
            yield f"job {number} was never enqueued and is there"
        if len(roots) > 1:
            yield f"job {number} has {len(roots)} originals"
    owners: dict[str, list[int]] = defaultdict(list)
    for number in evidence.roots:
        if number in evidence.invokes and (key := evidence.invokes[number]["key"]):
            owners[key].append(number)
    for key, numbers in owners.items():
        if len(numbers) > 1:
            yield f"the key {key} has several chains: {numbers}"
    for event in evidence.of("enqueue", "info"):
        if event["error"] != "StoreUnavailable":
            yield f"the enqueue of job {event['number']} raised {event['error']}: {event['words']}"


def c4_nothing_left_waiting(evidence: Evidence) -> Iterator[str]:
    """After the healing nothing that is due stays pending."""
    for row in evidence.rows:
        if row.status == PENDING:
            yield f"job {row.number} ({row.id}) is still pending"


def c8_nothing_left_processing(evidence: Evidence) -> Iterator[str]:
    """After the healing nothing stays processing."""
    for row in evidence.rows:
        if row.status == PROCESSING:
            yield f"job {row.number} ({row.id}) is still processing"


def c16_no_ghost_run(evidence: Evidence) -> Iterator[str]:
    """Each execution belongs to a committed row."""
    for run in evidence.executions:
        if run.job not in evidence.by_id and run.job not in evidence.changes:
            yield f"job {run.number} ran without a row ({run.job})"


def c17_nothing_deleted(evidence: Evidence) -> Iterator[str]:
    """No row is deleted that nobody purged; a run purges nothing."""
    for change in evidence.transitions:
        if change.op == "delete":
            yield f"the row {change.job} ({change.before}) was deleted"


def c19_cancelled_is_cancelled(evidence: Evidence) -> Iterator[str]:
    """After a cancel no attempt begins; what waited has ended as cancelled, what ran may have returned."""
    for ok in evidence.of("cancel", "ok"):
        chain = evidence.chains.get(ok["job"], [])
        verdict = chain[0].final_status if chain else None
        if verdict != "cancelled" and not (verdict == "success" and ok["final_status"] != "cancelled"):
            yield f"the chain {ok['job']} was cancelled ({ok['final_status']}) and ended as {verdict}"
        for row in chain:
            for change in evidence.changes.get(row.id, ()):
                if change.is_claim and change.at > ok.wall:
                    yield f"the job {row.id} was claimed after the cancel of its chain had returned"


def c20_replayed_once(evidence: Evidence) -> Iterator[str]:
    """Each replay is one new chain of the same job, and what it replays knows it; no run is replayed twice."""
    replays: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.rows:
        if row.replay_of is not None and row.attempt_number == 1:
            replays[row.replay_of].append(row)
    for ok in evidence.of("replay", "ok"):
        new = evidence.by_id.get(ok["job"])
        if new is None or new.replay_of is None:
            yield f"the replay {ok['job']} of {ok['of']} is not there"
    for source, rows in replays.items():
        replayed = evidence.by_id.get(source)
        if len(rows) > 1:
            yield f"{source} was replayed {len(rows)} times"
        if replayed is None or replayed.replayed_as != rows[0].id or replayed.number != rows[0].number:
            yield f"{source} does not know its replay {rows[0].id}, or is another job"


def c23_one_verdict(evidence: Evidence) -> Iterator[str]:
    """Each chain ends once, with the verdict that its last attempt gives, told to Celery; no retry is announced."""
    for chain in evidence.chains.values():
        original, last = chain[0], chain[-1]
        where = f"the chain of job {original.number} ({original.id})"
        if last.status not in TERMINAL:
            continue  # C4 or C8
        if original.has_pending_retry or original.ended_at is None or original.untold_at is not None:
            yield f"{where} ended and does not say so: {original.final_status}"
        if original.final_status not in _verdicts(last):
            yield f"{where} ended as {original.final_status}, its last attempt as {last.status}"
        if [row.status for row in chain[:-1]].count("failed") != len(chain) - 1:
            yield f"{where} went on after an attempt that had not failed: {[row.status for row in chain]}"
        if (original.final_status == "dead_lettered") != (original.dead_lettered_at is not None):
            yield f"{where}: the dead-letter queue and its verdict disagree"
        yield from _just(evidence, where, original, last)


def _verdicts(last: Row) -> tuple[str, ...]:
    return {"completed": ("success",), "failed": ("dead_lettered", "cancelled")}.get(last.status, ("cancelled",))


def _just(evidence: Evidence, where: str, original: Row, last: Row) -> Iterator[str]:
    """What the body does decides, where it is let."""
    kind = evidence.kind_of(original.number)
    if kind in ("fail", "give_up", "poison") and original.final_status == "success":
        yield f"{where} is a success, and its body never returns"
    failed = last.status == "failed" and original.final_status != "cancelled"
    if kind in RETURNS and failed and last.failure_reason not in ("worker_lost", "timeout"):
        yield f"{where} is dead-lettered ({last.failure_reason}: {last.error_message}), and its body returns"


def c10_poison_is_capped(evidence: Evidence) -> Iterator[str]:
    """No chain loses more workers than the cap, and one that reaches it ends there, in the dead-letter queue."""
    lost = Counter(
        evidence.by_id[change.job].original_id
        for change in evidence.transitions
        if change.is_loss and change.job in evidence.by_id
    )
    for id, chain in evidence.chains.items():
        losses, ended = max(lost[id], chain[-1].losses), chain[0].final_status
        if losses > terms.MAX_LOSSES:
            yield f"the chain of job {chain[0].number} lost {losses} workers"
        if losses >= terms.MAX_LOSSES and ended not in ("dead_lettered", "cancelled"):
            yield f"the chain of job {chain[0].number} lost {losses} workers and ended as {ended}"
        poison = evidence.kind_of(chain[0].number) == "poison" and ended == "dead_lettered"
        if poison and chain[-1].failure_reason not in ("worker_lost", "timeout"):
            yield f"the poison job {chain[0].number} died of {chain[-1].failure_reason}"
