"""The options of an enqueue that are ours, beyond Celery's own (semantics.md sections 4 and 5)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from celery_jobs.errors import InvalidJob, InvalidUrl
from celery_jobs.policy import Level, parse_level
from celery_jobs.settings import MAX_DELAY

__all__ = ["NAMES", "JobOptions", "is_json", "refuse_unknown", "take_moment", "take_options"]

NAMES = frozenset(
    [
        "idempotency_key",
        "idempotency_scope",
        "idempotency_ttl",
        "on_conflict",
        "callback_url",
        "tags",
        "concurrency_key",
        "concurrency_limit",
        "max_attempts",
        "max_retries",
        "retry_delays",
        "retry_policy",
        "delay",
        "scheduled_at",
        "run_at",
        "job_priority",
        "session",
    ]
)

_LEVEL = ("retry_policy", "retry_delays", "max_attempts", "max_retries")
MAX_KEY_LENGTH = 255
CONFLICTS = ("return", "replace")
LONGEST_TTL = 366 * 86_400
MAX_TAGS = 50


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Our options of one enqueue, checked."""

    level: Level = field(default_factory=Level)
    idempotency_key: str | None = None
    idempotency_scope: str | None = None
    idempotency_ttl: float | None = None
    on_conflict: str = "return"
    callback_url: str | None = None
    tags: list[str] | dict[str, Any] | None = None
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    delay: float | None = None
    scheduled_at: datetime | None = None
    job_priority: int | None = None
    """Higher first, as our own doors count; Celery's own `priority` keeps Celery's meaning."""
    session: Any = None
    """A transaction of the caller's own: a SQLAlchemy Session or Connection, or a Django connection."""

    @property
    def places(self) -> int | None:
        """How many of its key may run at once: 1 where only a key is given (semantics.md section 10)."""
        return 1 if self.concurrency_key and self.concurrency_limit is None else self.concurrency_limit


def take_options(options: dict[str, Any]) -> JobOptions:
    """Take our options out of those of an `apply_async`; raises InvalidJob naming the field.

    An option that neither Celery nor we know is left to Celery, which makes it a message property, unless it
    looks like one of ours misspelled.
    """
    stamps = set(options.get("stamped_headers") or ())  # which stand among the options under names of their own
    named = (NAMES & options.keys()) - stamps
    given = {name: options.pop(name) for name in named if not _is_celerys(name, options[name])}
    _refuse_near_misses(options.keys() - stamps)
    given = {name: value for name, value in given.items() if value is not None}
    if "concurrency_limit" in given and "concurrency_key" not in given:
        raise InvalidJob("concurrency_limit", "needs a concurrency_key")
    for name in ("idempotency_ttl", "on_conflict"):
        if name in given and "idempotency_key" not in given:
            raise InvalidJob(name, "needs an idempotency_key")
    level = _level({name: given.pop(name) for name in _LEVEL if name in given})
    scheduled_at = _scheduled_at(given)
    checked: dict[str, Any] = {name: _CHECKS[name](name, value) for name, value in given.items()}
    return JobOptions(level=level, scheduled_at=scheduled_at, **checked)


def refuse_unknown(options: Iterable[str], known: frozenset[str]) -> None:
    """Raise InvalidJob for an option that a door does not take, with the nearest one that it does."""
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise InvalidJob(name, f"unknown option; {hint}")


def _is_celerys(name: str, value: Any) -> bool:
    """Celery has a `retry_policy` too: a dictionary that says how often to try to publish."""
    return name == "retry_policy" and isinstance(value, Mapping) and "delays" not in value


def _refuse_near_misses(names: Iterable[str]) -> None:
    for name in sorted(names):
        meant = _nearest(name)
        if meant is not None and name not in NAMES:
            raise InvalidJob(name, f"unknown option; did you mean {meant}?")


@lru_cache(maxsize=512)
def _nearest(name: str) -> str | None:
    """Ours that a name looks like; asked for every option of every call, and a comparison takes long."""
    near = difflib.get_close_matches(name, NAMES - {"job_priority"}, n=1, cutoff=0.8)
    return near[0] if near else None


def _level(given: dict[str, Any]) -> Level:
    try:
        return parse_level(**given)
    except (TypeError, ValueError) as error:
        named = [name for name in _LEVEL if name in given]
        raise InvalidJob(" and ".join(named), str(error)) from error


def _scheduled_at(given: dict[str, Any]) -> datetime | None:
    named = [name for name in ("scheduled_at", "run_at", "delay") if name in given]
    if len(named) > 1:
        raise InvalidJob(named[1], f"{' and '.join(named)} say the same; give one")
    if not named or named[0] == "delay":
        return None
    return take_moment(named[0], given.pop(named[0]))


def take_moment(name: str, value: Any) -> datetime:
    """A moment in UTC of an option; raises InvalidJob naming it."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidJob(name, f"an ISO 8601 moment is expected, not {value!r}") from None
    if not isinstance(value, datetime):
        raise InvalidJob(name, f"an ISO 8601 moment or a datetime is expected, not {value!r}")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise InvalidJob(name, f"a moment between the years 1 and 9999 in UTC is expected, not {value}") from None


def _delay(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_DELAY:
        raise InvalidJob(name, f"a number of seconds from 0 to {MAX_DELAY:,} is expected, not {value!r}")
    return float(value)


def _ttl(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_TTL:
        raise InvalidJob(name, f"a number of seconds above 0, {LONGEST_TTL:,} at most, is expected, not {value!r}")
    return float(value)


def _conflict(name: str, value: Any) -> str:
    if value not in CONFLICTS:
        raise InvalidJob(name, f"one of {', '.join(CONFLICTS)} is expected, not {value!r}")
    return str(value)


def _key(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY_LENGTH or not _storable(value):
        raise InvalidJob(name, f"a text of 1 to {MAX_KEY_LENGTH} characters is expected, not {value!r}")
    return value


def _limit(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise InvalidJob(name, f"a whole number from 1 to 2,147,483,647 is expected, not {value!r}")
    return value


def _priority(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise InvalidJob("priority", f"a whole number is expected, not {value!r}")
    return value


def _tags(name: str, value: Any) -> list[str] | dict[str, Any]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        tags: list[str] | dict[str, Any] = dict(value)
    elif isinstance(value, list | tuple | set | frozenset) and all(isinstance(tag, str) for tag in value):
        tags = list(value) if isinstance(value, list | tuple) else sorted(value)
    else:
        raise InvalidJob(name, f"a list of texts or an object is expected, not {value!r}")
    if not is_json(tags):
        raise InvalidJob(name, f"texts without NUL, and values that JSON has, are expected, not {value!r}")
    if len(tags) > MAX_TAGS:
        raise InvalidJob(name, f"at most {MAX_TAGS} tags, not {len(tags)}")
    return tags


def _url(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidJob(name, f"an http or https URL is expected, not {value!r}")
    from celery_jobs.addresses import parse_url  # whose tables take long to make, and most jobs have no callback

    try:
        parse_url(value)
    except InvalidUrl as error:
        raise InvalidJob(name, str(error)) from None
    return value


def _storable(text: str) -> bool:
    """Whether a database takes the text: no NUL, no lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_json(value: Any) -> bool:
    """Whether a database keeps a value as JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return "\\u0000" not in text and _storable(text)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "session": lambda name, value: value,  # judged where it is joined
    "idempotency_key": _key,
    "idempotency_scope": _key,
    "idempotency_ttl": _ttl,
    "on_conflict": _conflict,
    "callback_url": _url,
    "tags": _tags,
    "concurrency_key": _key,
    "concurrency_limit": _limit,
    "delay": _delay,
    "job_priority": _priority,
}
