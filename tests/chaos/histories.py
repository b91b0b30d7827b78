"""Histories for the checker's own tests: for each rule some that break it, and some that break none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.chaos import terms
from tests.chaos.evidence import Evidence, Row, Transition
from tests.chaos.history import Event

__all__ = ["ACCEPTED", "BREACHES"]

DEAD = {"status": "failed", "final_status": "dead_lettered", "dead_lettered_at": 5.0, "result": None}


def event(kind: str, phase: str, at: float, pid: int = 1, **facts: Any) -> Event:
    return Event(kind, phase, at, at, pid, facts)


def enqueued(number: int = 1, outcome: str = "ok", **facts: Any) -> list[Event]:
    """An enqueue at 1.0 that ended so at 1.1; "killed" is one that never did."""
    more = {"job": f"job-{number}", "deduplicated": False, **facts}
    ended = [] if outcome == "killed" else [event("enqueue", outcome, 1.1, number=number, **more)]
    return [event("enqueue", "invoke", 1.0, number=number, task="ok", **facts), *ended]


def ran(at: float = 2.0, until: float | None = 3.0, token: str = "a", **facts: Any) -> list[Event]:
    """An execution of job 1 by the process 7."""
    run = {"run": f"run at {at}", "number": 1, "job": "job-1", "attempt": 1, "token": token, "slot": "0", **facts}
    ended = [] if until is None else [event("run", "end", until, 7, outcome="returned", **run)]
    return [event("run", "start", at, 7, **run), *ended]


def row(**columns: Any) -> Row:
    """Job 1, run once from 2 to 3, a success."""
    result = json.dumps({"answer": terms.answer(1), "claim": "a"})
    plain = Row("job-1", "job-1", 1, "completed", "success", lease_token="a", result=result)
    times = {"created_at": 1.05, "scheduled_at": 1.05, "started_at": 1.9, "finished_at": 3.1, "ended_at": 3.1}
    return replace(plain, **{**times, **columns})


def change(before: str | None, after: str | None, at: float, **columns: Any) -> Transition:
    op = "insert" if before is None else "update"
    return Transition(**{"op": op, "at": at, "job": "job-1", "before": before, "after": after, **columns})


MADE = change(None, "pending", 1.05)
CLAIMED = change("pending", "processing", 1.9, token="a", worker="w")
COMPLETED = change("processing", "completed", 3.1, token="a", old_token="a")
LOST = change("processing", "pending", 2.5, old_token="a", losses=1)
CLAIMED_AGAIN = change("pending", "processing", 2.6, token="b", worker="v", old_losses=1, losses=1)

GOOD = Evidence((*enqueued(), *ran()), (row(),), (MADE, CLAIMED, COMPLETED))


def with_rows(*rows: Row) -> Evidence:
    return replace(GOOD, rows=rows)


def with_events(*events: Event) -> Evidence:
    return replace(GOOD, events=tuple(events))


def with_changes(*changes: Transition) -> Evidence:
    return replace(GOOD, transitions=changes)


def and_events(*events: Event) -> Evidence:
    return replace(GOOD, events=(*GOOD.events, *events))


def retry(**columns: Any) -> Row:
    """Attempt 2 of job 1, in its time."""
    times = {"created_at": 3.1, "scheduled_at": 3.6, "started_at": 3.7, "finished_at": 4.0, "ended_at": None}
    more = {**times, "policy_retries": 1, "final_status": "success"}
    return row(**{"id": "job-1-2", "attempt_number": 2, **more, **columns})


FAILED_FIRST = row(status="failed", result=None)

BREACHES: dict[str, list[Evidence]] = {
    "C1": [
        with_rows(),
        with_rows(row(ended_at=None)),
        with_rows(row(), row(id="job-1b", original_id="job-1b")),
    ],
    "C2": [
        with_events(*enqueued(outcome="fail"), *ran()),
        with_rows(row(), row(id="job-1b", original_id="job-1b")),
        with_rows(row(), row(id="job-9", original_id="job-9", number=9)),
        replace(
            with_events(*enqueued(1, key="k"), *enqueued(2, key="k")),
            rows=(row(), row(id="job-2", original_id="job-2", number=2)),
        ),
        and_events(*enqueued(2, "info", error="OperationalError")),
    ],
    "C3": [
        with_changes(MADE, CLAIMED, COMPLETED, change("completed", "pending", 4)),
        with_changes(MADE, change("pending", "completed", 2)),
        with_rows(row(lease_token="b")),
        with_rows(row(finished_at=2.9)),
        with_events(*enqueued(), *ran(until=None)),
    ],
    "C4": [with_rows(row(status="pending", final_status=None, ended_at=None))],
    "C5": [
        with_rows(FAILED_FIRST, retry(attempt_number=3)),
        with_rows(row(), retry()),
        with_rows(FAILED_FIRST, retry(created_at=2.0)),
        with_rows(row(policy_retries=3)),
    ],
    "C6": [
        and_events(*ran(2.2, 3.2, "b")),
        replace(
            and_events(*ran(2.7, 3.2, "b")), transitions=(MADE, CLAIMED, LOST, CLAIMED_AGAIN)
        ),  # lost, but its worker was neither dead nor struck
    ],
    "C7": [
        and_events(*ran(3.2, 3.4, "b")),
        with_events(*enqueued()),
        with_changes(MADE, CLAIMED, replace(LOST, losses=0), CLAIMED_AGAIN, COMPLETED),
    ],
    "C8": [with_rows(row(status="processing", final_status=None, ended_at=None))],
    "C9": [with_changes(MADE, COMPLETED), with_changes(MADE, replace(CLAIMED, at=2.5)), and_events(*ran(3.2, 3.3))],
    "C10": [
        with_rows(row(losses=terms.MAX_LOSSES + 1, **DEAD)),
        with_rows(row(losses=terms.MAX_LOSSES)),
        with_changes(*[LOST] * (terms.MAX_LOSSES + 1)),
    ],
    "C11": [
        and_events(event("healed", "mark", 9.0, slots=["0"])),
        and_events(event("healed", "mark", 1.5, slots=["1"])),
    ],
    "C12": [
        with_rows(row(result=json.dumps({"answer": terms.answer(2), "claim": "a"}))),
        with_events(*enqueued(), *ran(number=2)),
    ],
    "C13": [
        with_rows(row(scheduled_at=1.95)),
        with_events(*enqueued(delay=5), *ran()),
        with_rows(FAILED_FIRST, retry(scheduled_at=3.2)),
    ],
    "C16": [with_events(*enqueued(), *ran(job="job-9"))],
    "C17": [with_changes(MADE, CLAIMED, COMPLETED, Transition("delete", 4, "job-1", "completed"))],
    "C19": [
        and_events(event("cancel", "ok", 1.5, of="job-1", job="job-1", final_status="cancelled")),
        replace(
            and_events(event("cancel", "ok", 1.5, of="job-1", job="job-1", final_status="cancelled")),
            rows=(row(status="cancelled", final_status="cancelled"),),
        ),  # claimed at 1.9
    ],
    "C20": [
        and_events(event("replay", "ok", 4, of="job-1", job="job-1r")),
        with_rows(row(replayed_as="job-1s"), row(id="job-1r", original_id="job-1r", replay_of="job-1")),
        with_rows(
            row(replayed_as="job-1r"),
            row(id="job-1r", original_id="job-1r", replay_of="job-1"),
            row(id="job-1s", original_id="job-1s", replay_of="job-1"),
        ),
    ],
    "C23": [
        with_rows(row(final_status="retrying", status="failed", has_pending_retry=True, ended_at=None)),
        with_rows(row(final_status="dead_lettered")),
        with_rows(row(untold_at=4.0)),
        with_rows(row(**{**DEAD, "dead_lettered_at": None})),
        with_rows(row(**DEAD, failure_reason="exception")),  # its body returns
        with_rows(row(status="cancelled"), retry()),
    ],
    "C24": [
        with_changes(MADE, CLAIMED, replace(CLAIMED, before="processing", old_token="a", token="b")),
        with_changes(MADE, CLAIMED, LOST, CLAIMED_AGAIN, replace(LOST, old_token="b"), CLAIMED),
    ],
    "C27": [
        replace(
            GOOD,
            rows=(row(concurrency_key="k"), row(id="job-2", number=2, concurrency_key="k", concurrency_limit=1)),
            transitions=(MADE, CLAIMED, replace(CLAIMED, job="job-2", token="b")),
        )
    ],
    "invariants": [replace(GOOD, invariants=("7: at most one job of a chain is live: job-1",))],
}

ACCEPTED: dict[str, Evidence] = {
    "a success": GOOD,
    "an enqueue that raised and left its row": with_events(*enqueued(outcome="info", error="StoreUnavailable"), *ran()),
    "an enqueue that raised and left nothing": and_events(*enqueued(2, "info", error="StoreUnavailable")),
    "a producer killed in its enqueue": and_events(*enqueued(2, "killed")),
    "a refused enqueue": and_events(*enqueued(2, "fail")),
    "a second enqueue under a key": with_events(
        *enqueued(1, key="k"), *ran(), *enqueued(2, key="k", job="job-1", deduplicated=True)
    ),
    "a retry": replace(
        and_events(*ran(3.75, 3.9, "b", job="job-1-2")),
        rows=(
            row(status="failed", result=None),
            retry(lease_token="b", result=json.dumps({"answer": terms.answer(1), "claim": "b"})),
        ),
        transitions=(
            *(MADE, CLAIMED, change("processing", "failed", 3.1, old_token="a", token="a")),
            change(None, "pending", 3.1, job="job-1-2"),
            change("pending", "processing", 3.7, job="job-1-2", token="b"),
            change("processing", "completed", 4.0, job="job-1-2", token="b", old_token="b"),
        ),
    ),
    "a zombie beside its successor": Evidence(
        (
            *enqueued(),
            event("fault", "on", 2.1, fault="stop a worker", pids=[7]),
            *ran(2.0, 2.9, "z"),
            *ran(2.7, 3.0, "a"),
        ),
        (row(losses=1),),
        (
            *(MADE, replace(CLAIMED, token="z"), replace(LOST, old_token="z")),
            *(replace(CLAIMED_AGAIN, token="a"), COMPLETED),
        ),
    ),
    "a replay": Evidence(
        (*enqueued(), *ran(), event("replay", "ok", 4, of="job-1", job="job-1r"), *ran(4.5, 4.6, "r", job="job-1r")),
        (
            row(replayed_as="job-1r"),
            row(
                id="job-1r",
                original_id="job-1r",
                replay_of="job-1",
                lease_token="r",
                result=json.dumps({"answer": terms.answer(1), "claim": "r"}),
                finished_at=4.7,
            ),
        ),
        (MADE, CLAIMED, COMPLETED, change("pending", "processing", 4.4, job="job-1r", token="r")),
    ),
    "a cancel of what waited": Evidence(
        (*enqueued(), event("cancel", "ok", 1.5, of="job-1", job="job-1", final_status="cancelled")),
        (row(status="cancelled", final_status="cancelled", started_at=None, result=None),),
        (MADE, change("pending", "cancelled", 1.4)),
    ),
    "workers that have run something since": and_events(event("healed", "mark", 1.5, slots=["0"])),
}
