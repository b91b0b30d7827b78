"""What the checker judges: the log, the rows as they are in the end, and every change of a row on its way there."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.history import Event

__all__ = ["PENDING", "PROCESSING", "TERMINAL", "Evidence", "Execution", "Row", "Transition"]

PENDING, PROCESSING = "pending", "processing"
TERMINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the database has it in the end; moments in seconds by the database's clock."""

    id: str
    original_id: str
    number: int
    status: str
    final_status: str | None
    attempt_number: int = 1
    max_attempts: int = 3
    policy_retries: int = 0
    losses: int = 0
    lease_token: str | None = None
    result: str | None = None
    failure_reason: str | None = None
    error_message: str | None = None
    created_at: float = 0
    scheduled_at: float = 0
    started_at: float | None = None
    finished_at: float | None = None
    ended_at: float | None = None
    dead_lettered_at: float | None = None
    untold_at: float | None = None
    has_pending_retry: bool = False
    replay_of: str | None = None
    replayed_as: str | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a row's status, token or outcome; `op`: insert, update, delete, or dead (of a worker)."""

    op: str
    at: float
    job: str | None = None
    before: str | None = None
    after: str | None = None
    old_token: str | None = None
    token: str | None = None
    worker: str | None = None
    old_losses: int = 0
    losses: int = 0

    @property
    def is_claim(self) -> bool:
        """Whether a worker won the job here."""
        return self.after == PROCESSING and (self.before != PROCESSING or self.token != self.old_token)

    @property
    def is_return(self) -> bool:
        """Whether a claim was taken back here."""
        return self.before == PROCESSING and self.after == PENDING

    @property
    def is_loss(self) -> bool:
        """Whether a claim was taken back because its worker was lost."""
        return self.is_return and self.losses > self.old_losses


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a task's body, as it wrote itself into the log."""

    start: Event
    end: Event | None

    @property
    def number(self) -> int:
        """The job's number, as its arguments say."""
        return int(self.start["number"])

    @property
    def job(self) -> str:
        """The row that it ran for."""
        return str(self.start["job"])

    @property
    def token(self) -> str:
        """The claim that it ran under."""
        return str(self.start["token"])

    @property
    def returned(self) -> bool:
        """Whether its body came to its end without an error."""
        return self.end is not None and self.end["outcome"] == "returned"


@dataclass(frozen=True)
class Evidence:
    """A run's log and tables, and the ways into them."""

    events: Sequence[Event] = ()
    rows: Sequence[Row] = ()
    transitions: Sequence[Transition] = ()
    invariants: Sequence[str] = field(default_factory=tuple)

    def of(self, kind: str, phase: str | None = None) -> list[Event]:
        """The events of a kind, and of a phase where one is named."""
        return [event for event in self.events if event.kind == kind and phase in (None, event.phase)]

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """Rows by their id."""
        return {row.id: row for row in self.rows}

    @cached_property
    def chains(self) -> dict[str, list[Row]]:
        """The attempts of each chain, in order, by original."""
        chains: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(self.rows, key=lambda row: row.attempt_number):
            chains[row.original_id].append(row)
        return dict(chains)

    @cached_property
    def roots(self) -> dict[int, list[Row]]:
        """Originals that an enqueue made, by the number of the job."""
        roots: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.id == row.original_id and row.replay_of is None:
                roots[row.number].append(row)
        return dict(roots)

    @cached_property
    def executions(self) -> list[Execution]:
        """Every run of a body, in the order of their starts."""
        ends = {event["run"]: event for event in self.of("run", "end")}
        return [Execution(start, ends.get(start["run"])) for start in self.of("run", "start")]

    @cached_property
    def changes(self) -> dict[str, list[Transition]]:
        """What happened to each row, in order."""
        changes: dict[str, list[Transition]] = defaultdict(list)
        for transition in self.transitions:
            if transition.job is not None:
                changes[transition.job].append(transition)
        return dict(changes)

    @cached_property
    def invokes(self) -> dict[int, Event]:
        """Every enqueue that was attempted, by number."""
        return {event["number"]: event for event in self.of("enqueue", "invoke")}

    @cached_property
    def acknowledged(self) -> dict[int, Event]:
        """Enqueues that returned, by number."""
        return {event["number"]: event for event in self.of("enqueue", "ok")}

    @cached_property
    def refused(self) -> set[int]:
        """Numbers whose enqueue was refused for good."""
        return {event["number"] for event in self.of("enqueue", "fail")}

    @cached_property
    def unknown(self) -> set[int]:
        """Numbers whose enqueue may or may not have happened: it raised, or its producer was killed in it."""
        return self.invokes.keys() - self.acknowledged.keys() - self.refused

    def kind_of(self, number: int) -> str:
        """What the body of a job does."""
        invoke = self.invokes.get(number)
        return "" if invoke is None else str(invoke["task"])

    @cached_property
    def hits(self) -> dict[int, list[Event]]:
        """The faults that killed or stopped a process, and its own suicides, by process id."""
        hits: dict[int, list[Event]] = defaultdict(list)
        for event in self.of("fault", "on"):
            for pid in event["pids"] or ():
                hits[pid].append(event)
        for event in self.of("run", "dying"):
            hits[event.pid].append(event)
        return dict(hits)
