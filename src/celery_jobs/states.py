"""The states of a job and of its chain (semantics.md section 2)."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FAILED_VERDICTS", "LIVE", "FailureReason", "FinalStatus", "Status", "parse_filter"]


class Status(StrEnum):
    """Where one job, that is one attempt, stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FinalStatus(StrEnum):
    """What became of a job, and, on the original, of its chain."""

    SUCCESS = "success"
    RETRYING = "retrying"
    FAILED_WITH_RETRIES = "failed_with_retries"
    FAILED_NO_RETRIES = "failed_no_retries"
    DEAD_LETTERED = "dead_lettered"
    CANCELLED = "cancelled"


class FailureReason(StrEnum):
    """Why an attempt failed or was cancelled."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    EXPIRED = "expired"
    NO_RETRY = "no_retry"
    UNKNOWN_TASK = "unknown_task"
    UNDECODABLE = "undecodable"
    CONNECTION_ERROR = "connection_error"
    DNS_ERROR = "dns_error"
    SSL_ERROR = "ssl_error"
    HTTP_CLIENT_ERROR = "http_client_error"
    HTTP_SERVER_ERROR = "http_server_error"
    HTTP_REDIRECT = "http_redirect"
    INVALID_URL = "invalid_url"
    BLOCKED_ADDRESS = "blocked_address"
    ASSERTION_FAILED = "assertion_failed"


LIVE = (Status.PENDING, Status.PROCESSING)
FAILED_VERDICTS = (FinalStatus.DEAD_LETTERED, FinalStatus.FAILED_NO_RETRIES)

_SPELLINGS = {"deadletter": "dead_lettered", "dead_letter": "dead_lettered", "dead": "dead_lettered"}


def parse_filter(value: str) -> Status | FinalStatus:
    """Read a state as any of the documents spells it: `PENDING`, `deadletter`, `dead_lettered`.

    Raises ValueError with the known states (semantics.md section 1).
    """
    name = value.strip().lower().replace("-", "_")
    name = _SPELLINGS.get(name, name)
    if name in set(Status):
        return Status(name)
    if name in set(FinalStatus):
        return FinalStatus(name)
    known = ", ".join([*Status, *FinalStatus])
    raise ValueError(f"unknown state {value!r}; known are {known}")
