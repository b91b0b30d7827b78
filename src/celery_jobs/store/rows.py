"""What goes into the store and comes out of it: frozen values, a job to be stored apart from a stored one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["JOB_COLUMNS", "Claim", "Enqueued", "Failure", "Job", "Message", "NewJob", "Outgoing", "Response"]


@dataclass(frozen=True, slots=True)
class Message:
    """What Celery would send: the body as serialized, uncompressed; headers and properties as JSON."""

    id: str
    body: bytes
    content_type: str
    content_encoding: str
    headers: str
    properties: str
    exchange: str
    routing_key: str
    compression: str | None = None
    delivery_mode: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """The first attempt of a chain, to be stored. `delay` (seconds from now) or `scheduled_at`, or neither.

    `expires_at`, or `expires_in` (seconds from now), or neither; so of its key `key_expires_at` and `idempotency_ttl`.
    """

    id: str
    task_id: str
    task: str | None
    queue: str
    message: Message
    max_attempts: int
    retries_enabled: bool
    retry_policy: dict[str, Any] | None = None
    nesting: int = 0
    retries: int = 0
    root_id: str | None = None
    delay: float | None = None
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    expires_in: float | None = None
    send: bool = True
    priority: int = 0
    tags: list[str] | dict[str, Any] | None = None
    idempotency_scope: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: float | None = None
    replaces: bool = False
    """Whether it is to take the place of its key's owner, where that still waits."""
    key_expires_at: datetime | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    callback_url: str | None = None
    replay_of: str | None = None
    replay_reason: str | None = None
    adopted: bool = False
    is_step: bool = False
    """Published by a task's run or end, not by a caller."""
    publisher: str | None = None
    """The original of the chain whose run or end it is, if it is a job's."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The job that an enqueue made or found. `due_at` None: it is due now; `sent_at` None: hold it."""

    job_id: str
    task_id: str
    sent_at: datetime | None = None
    due_at: datetime | None = None
    expires_at: datetime | None = None
    deduplicated: bool = False
    payload_mismatch: bool = False
    replaced: bool = False
    """It was there and waited, and is now what was enqueued."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored job to be sent now: its message and what is set when sending. `due_at` None: it is due now."""

    job_id: str
    message: Message
    queue: str
    task: str | None
    task_id: str
    retries: int
    priority: int
    due_at: datetime | None
    sent_at: datetime
    expires_at: datetime | None
    edition: int = 0
    """How often it was replaced: its older messages claim nothing."""

    @property
    def wait(self) -> float:
        """Seconds from its sending until it is due."""
        return 0.0 if self.due_at is None else max(0.0, (self.due_at - self.sent_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Claim:
    """A job won by a worker, with what its end needs to know."""

    id: str
    original_id: str
    task_id: str
    task: str | None
    queue: str
    attempt_number: int
    policy_retries: int
    max_attempts: int
    retries_enabled: bool
    retry_policy: dict[str, Any] | None
    lease_token: str
    started_at: datetime = field(compare=False)
    """A repetition after a lost reply is the same claim."""
    tags: list[str] | dict[str, Any] | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What an HTTP job was answered; `headers`: names in lower case; `truncated`: there was more of the body."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, and what it was answered if it is an HTTP job's."""

    reason: str
    error_type: str
    message: str
    traceback: str | None = None
    response: Response | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One stored attempt: a row of the table `jobs` (semantics.md section 1)."""

    id: str
    original_id: str
    task_id: str
    task: str | None
    queue: str
    status: str
    final_status: str | None
    attempt_number: int
    max_attempts: int
    retries_enabled: bool
    is_retry: bool
    has_pending_retry: bool
    created_at: datetime
    scheduled_at: datetime
    nesting: int = 0
    reuse: int = 0
    retries: int = 0
    policy_retries: int = 0
    retry_policy: dict[str, Any] | None = None
    priority: int = 0
    tags: list[str] | dict[str, Any] | None = None
    expires_at: datetime | None = None
    sent_at: datetime | None = None
    send_count: int = 0
    worker: str | None = None
    lease_token: str | None = field(default=None, repr=False)
    lease_expires_at: datetime | None = None
    losses: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    duration_ms: int | None = None
    result: str | None = None
    response_status: int | None = None
    response: Response | None = None
    """Read for one run, not for lists."""
    failure_reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = field(default=None, repr=False)
    last_error_type: str | None = None
    last_error_message: str | None = None
    idempotency_scope: str | None = None
    idempotency_key: str | None = None
    key_expires_at: datetime | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    callback_url: str | None = None
    callback_state: str | None = None
    callback_at: datetime | None = None
    callback_tries: int = 0
    callback_status: int | None = None
    callback_duration_ms: int | None = None
    callback_error: str | None = None
    dead_lettered_at: datetime | None = None
    alerted_at: datetime | None = None
    replay_of: str | None = None
    replay_reason: str | None = None
    replayed_at: datetime | None = None
    replayed_as: str | None = None
    replaced_by: str | None = None
    resolved_by: str | None = None
    untold_at: datetime | None = None
    waits_for: str | None = None
    """The limit that it waits for: `key:` and a concurrency key, `queue:` or `rate:` and a queue."""
    claimed_by: str | None = None
    """The outside worker that claimed it, by the name that it has given itself."""
    erased_at: datetime | None = None


JOB_COLUMNS = tuple(name for name in Job.__slots__ if name != "response")
