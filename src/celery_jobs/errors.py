"""Every error the plugin raises on purpose: one tree, one sentence each."""

from __future__ import annotations

from kombu.exceptions import EncodeError

__all__ = [
    "AlreadyReplayed",
    "AmbiguousId",
    "ArgumentsDoNotFit",
    "BlockedAddress",
    "Cancelled",
    "DuplicateJob",
    "HttpBusy",
    "HttpFailed",
    "HttpGone",
    "InvalidJob",
    "InvalidSettings",
    "InvalidSignature",
    "InvalidUrl",
    "JobDeadLettered",
    "JobEnded",
    "JobErased",
    "JobNotEnded",
    "JobNotFound",
    "JobNotHeld",
    "JobRunning",
    "JobUntold",
    "JobsError",
    "KeyNotFound",
    "NoCallback",
    "NoRetry",
    "NotDeadLettered",
    "NotInstalled",
    "PayloadNotSerializable",
    "PayloadTooLarge",
    "ResultsUnavailable",
    "RetryAfter",
    "SchemaOutdated",
    "StoreUnavailable",
    "UnknownQueue",
    "WaitTimeout",
]


class JobsError(Exception):
    """Something is wrong with a job, its settings or its database."""


class InvalidSettings(JobsError, ValueError):
    """One or more `jobs_*` settings are wrong; every fault is listed.

    `problems`: one sentence for each wrong setting.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("celery-jobs settings are wrong:\n" + "\n".join(f"  - {p}" for p in problems))


class NotInstalled(JobsError, RuntimeError):
    """The app does not have the plugin, or has it too late, or twice."""


class InvalidJob(JobsError, ValueError):
    """A job's option is wrong; nothing was written or sent.

    `field`: the option at fault; `problem`: what is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class PayloadTooLarge(InvalidJob):
    """The serialized arguments are larger than `jobs_max_payload_bytes`; nothing was written or sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            "payload",
            f"the serialized arguments are {size:,} bytes, the limit is {limit:,} (jobs_max_payload_bytes); "
            "store the data elsewhere and pass a reference to it",
        )


class PayloadNotSerializable(InvalidJob, EncodeError):  # type: ignore[misc]
    """The serializer refuses the arguments; nothing was written or sent. Also kombu's EncodeError."""

    def __init__(self, serializer: str, problem: Exception) -> None:
        super().__init__("payload", f"the serializer {serializer!r} refuses the arguments: {problem}")


class DuplicateJob(JobsError):
    """A member of a group, chord or chain has the idempotency key of another job."""


class StoreUnavailable(JobsError):
    """The jobs database does not answer, is full, or takes no writes; nothing was sent."""


class SchemaOutdated(JobsError):
    """The jobs database has no tables, or tables of another version."""


class JobNotFound(JobsError, LookupError):
    """No job has this id, and no chain this Celery task id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"no job with the id {id!r}")


class KeyNotFound(JobsError, LookupError):
    """No job has this idempotency key in this scope."""

    def __init__(self, key: str, scope: str) -> None:
        super().__init__(
            f"no job has the idempotency key {key!r} in the scope {scope!r}, which is the name of the task, of an HTTP "
            "job that of the queue, or the job's own idempotency_scope"
        )


class ScheduleNotFound(JobsError, LookupError):
    """There is no schedule of this name."""

    def __init__(self, name: str, near: list[str]) -> None:
        hint = f"; did you mean {near[0]}?" if near else ""
        super().__init__(f"there is no schedule {name!r}{hint}")


class JobNotEnded(JobsError):
    """The job is waiting or running; only an ended run can be replayed or purged, or have its callback sent again."""


class JobNotHeld(JobsError):
    """An outside worker does not hold the job, or no longer: another does, its lease ran out, or the job has ended.

    `holder`: the `worker_id` of who holds it now; None: nobody does.
    """

    def __init__(self, problem: str, holder: str | None = None) -> None:
        self.holder = holder
        super().__init__(problem)


class JobEnded(JobsError):
    """The run has already ended in another way."""


class JobErased(JobsError):
    """What the run was called with was erased: it cannot be replayed."""


class ResultsUnavailable(JobsError):
    """Celery's result store does not answer; nothing of the run was erased."""


class JobRunning(JobsError):
    """The job runs: it can be neither sent nor deleted now."""


class JobDeadLettered(JobsError):
    """An entry of the dead-letter queue is purged, not deleted."""


class JobUntold(JobsError):
    """The run's end could not be told to Celery yet, whose result store is away; it cannot be deleted before."""


class UnknownQueue(JobsError, LookupError):
    """No app, job or worker knows a queue of this name; nothing was changed.

    `queue`: the name.
    """

    def __init__(self, queue: str, near: list[str]) -> None:
        self.queue = queue
        hint = f"did you mean {near[0]}?" if near else "name it in jobs_queues if its first job is still to come"
        super().__init__(f"nobody knows a queue {queue!r}; {hint}")


class WaitTimeout(JobsError, TimeoutError):
    """The run has not ended in the time that was waited for it."""


class AmbiguousId(JobsError, LookupError):
    """The beginning of an id that several jobs share.

    `candidates`: ids of some of them, newest first.
    """

    def __init__(self, prefix: str, candidates: list[str]) -> None:
        self.candidates = candidates
        super().__init__(f"several jobs begin with {prefix!r}: {', '.join(candidates)} …; give more of the id")


class AlreadyReplayed(JobsError):
    """This run has been replayed before; replay it again with force."""


class NotDeadLettered(JobsError):
    """Only an entry of the dead-letter queue can be purged."""


class ArgumentsDoNotFit(JobsError):
    """The stored arguments cannot be bound to the task's present signature; nothing was sent."""


class InvalidUrl(JobsError, ValueError):
    """A URL cannot be requested; nothing was sent.

    `part`: the part at fault, such as `host` or `port`; `problem`: what is wrong with it.
    """

    def __init__(self, part: str, problem: str) -> None:
        self.part = part
        self.problem = problem
        super().__init__(part, problem)

    def __str__(self) -> str:
        return f"the URL cannot be requested: {self.problem}"


class BlockedAddress(JobsError):
    """The destination of a request is not allowed; nothing was sent to it (semantics.md section 9).

    `host`: as the URL has it; what it resolves to is never told. `setting`: what would allow it.
    """

    def __init__(self, host: str, setting: str) -> None:
        self.host = host
        self.setting = setting
        super().__init__(host, setting)

    def __str__(self) -> str:
        return f"the destination {self.host} is not allowed ({self.setting})"


class InvalidSignature(JobsError):
    """A callback must not be believed: it is not signed with the secret, too old, or not what was signed."""


class NoCallback(JobsError):
    """The job has no `callback_url`."""


LONGEST_WAIT = 366 * 86_400
"""Seconds; no wait between two attempts is longer than a year."""


class NoRetry(JobsError):
    """Raised by a task: retrying cannot help, end the chain now (semantics.md section 3)."""


class Cancelled(JobsError):
    """Raised by a task: end this run as cancelled, and never retry it (semantics.md section 10)."""


class RetryAfter(JobsError):
    """Raised by a task: fail, and wait at least `seconds` before the next attempt (semantics.md section 3)."""

    def __init__(self, seconds: float, message: str = "") -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_WAIT:
            raise ValueError(f"RetryAfter takes 0 to {LONGEST_WAIT:,} seconds, not {seconds!r}")
        self.seconds = seconds
        super().__init__(seconds, message)

    def __str__(self) -> str:
        return str(self.args[1] or f"retry after {self.seconds:g} s")


class HttpFailed(JobsError):
    """An HTTP job's request did not get the response that it should have (semantics.md section 9).

    `reason`: the attempt's failure reason; `response_status`: what the server answered, None where it did not.
    """

    def __init__(self, reason: str, message: str, response_status: int | None = None) -> None:
        self.reason = str(reason)
        self.response_status = response_status
        JobsError.__init__(self, self.reason, message, response_status)

    def __str__(self) -> str:
        return str(self.args[1])


class HttpGone(HttpFailed, NoRetry):
    """An HTTP job failed in a way that retrying cannot help."""


class HttpBusy(HttpFailed, RetryAfter):
    """The server of an HTTP job asks to wait at least `seconds` before the next attempt."""

    def __init__(self, reason: str, message: str, response_status: int | None = None, seconds: float = 0) -> None:
        super().__init__(reason, message, response_status)
        self.seconds = seconds
        self.args = (self.reason, message, response_status, seconds)
