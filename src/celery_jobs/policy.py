"""Retry policies: how many attempts, and how long to wait before each (semantics.md section 3)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_jobs.errors import LONGEST_WAIT

__all__ = [
    "MAX_ATTEMPTS",
    "Custom",
    "Exponential",
    "Fixed",
    "Level",
    "Policy",
    "level_from_json",
    "parse_level",
    "parse_policy",
    "resolve",
]

MAX_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Policy:
    """Waits between attempts, in seconds; the last one repeats. `max_attempts` counts the first attempt."""

    delays: tuple[float, ...]
    max_attempts: int
    jitter: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(f"attempts must be from 1 to {MAX_ATTEMPTS}, not {self.max_attempts}")
        for delay in self.delays:
            if not 0 <= delay <= LONGEST_WAIT:
                raise ValueError(f"a delay must be 0 or more seconds, a year at most, not {delay}")
        if self.max_attempts > 1 and not self.delays:
            raise ValueError(f"{self.max_attempts} attempts need at least one delay between them")

    def delay(self, retries: int) -> float:
        """Seconds to wait when `retries` policy retries have been made; drawn from [d/2, d] with jitter."""
        delay = self.delays[min(retries, len(self.delays) - 1)]
        return random.uniform(delay / 2, delay) if self.jitter else delay

    def to_json(self) -> dict[str, Any]:
        """The form kept with a job: `{"delays": [...], "max_attempts": n, "jitter": bool}`."""
        return {"delays": list(self.delays), "max_attempts": self.max_attempts, "jitter": self.jitter}


def Fixed(delay: float, attempts: int) -> Policy:
    """Wait `delay` seconds before every retry."""
    return Policy((float(delay),), attempts)


def Exponential(initial: float, attempts: int, cap: float = 86_400, jitter: bool = False) -> Policy:
    """Wait initial x 2**n seconds, at most `cap`; with jitter, a draw from the upper half."""
    if initial < 0 or cap < 0:
        raise ValueError("initial and cap are seconds, 0 or more")
    waits = (min(initial * 2.0**n, cap) for n in range(max(1, min(attempts, MAX_ATTEMPTS) - 1)))
    return Policy(tuple(float(wait) for wait in waits), attempts, jitter)


def Custom(delays: Sequence[float], attempts: int | None = None) -> Policy:
    """Wait as listed, in seconds; 1 + len(delays) attempts unless told otherwise."""
    waits = tuple(float(delay) for delay in delays)
    return Policy(waits, 1 + len(waits) if attempts is None else attempts)


def parse_policy(value: Policy | Mapping[str, Any] | Sequence[float]) -> Policy:
    """Read a policy from a Policy, a plain list of seconds, or its JSON form.

    Raises ValueError or TypeError naming what is wrong.
    """
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping):
        return _parse_mapping(dict(value))
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"a policy is a list of seconds or a Policy, not {value!r}")
    return Custom([_seconds(delay) for delay in value])


def _parse_mapping(value: dict[str, Any]) -> Policy:
    unknown = set(value) - {"delays", "max_attempts", "jitter"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; a policy has delays, max_attempts and jitter")
    delays = tuple(_seconds(delay) for delay in value.get("delays", ()))
    attempts = value.get("max_attempts")
    if attempts is not None:
        _whole("max_attempts", attempts)
    return Policy(delays, 1 + len(delays) if attempts is None else attempts, bool(value.get("jitter", False)))


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a delay is a number of seconds, not {value!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class Level:
    """What one level (job, task or queue) says of retries; None: nothing."""

    delays: tuple[float, ...] | None = None
    max_attempts: int | None = None
    jitter: bool = False

    @property
    def attempts(self) -> int | None:
        """A level that gives delays without max_attempts sets both."""
        if self.max_attempts is None and self.delays is not None:
            return 1 + len(self.delays)
        return self.max_attempts

    def to_json(self) -> dict[str, Any] | None:
        """The form kept with a job; None for a level that says nothing."""
        if self.delays is None and self.max_attempts is None:
            return None
        delays = None if self.delays is None else list(self.delays)
        return {"delays": delays, "max_attempts": self.max_attempts, "jitter": self.jitter}


def level_from_json(value: Mapping[str, Any] | None) -> Level:
    """Read what `Level.to_json` gave."""
    if value is None:
        return Level()
    delays = value.get("delays")
    return Level(None if delays is None else tuple(delays), value.get("max_attempts"), bool(value.get("jitter")))


def parse_level(
    retry_policy: Any = None,
    retry_delays: Any = None,
    max_attempts: Any = None,
    max_retries: Any = None,
) -> Level:
    """Read one level's options. Raises ValueError or TypeError naming what is wrong (semantics.md section 3)."""
    if max_retries is not None:
        attempts = _whole("max_retries", max_retries) + 1
        if max_attempts is not None and max_attempts != attempts:
            raise ValueError(f"max_attempts {max_attempts} and max_retries {max_retries} disagree; give one")
        max_attempts = attempts
    if max_attempts is not None and not 1 <= _whole("max_attempts", max_attempts) <= MAX_ATTEMPTS:
        raise ValueError(f"max_attempts must be from 1 to {MAX_ATTEMPTS}, not {max_attempts}")
    if retry_policy is not None and retry_delays is not None:
        raise ValueError("retry_policy and retry_delays say the same; give one")
    if retry_policy is None and retry_delays is None:
        return Level(max_attempts=max_attempts)
    policy = parse_policy(retry_policy if retry_delays is None else retry_delays)
    given = policy.max_attempts if max_attempts is None else max_attempts
    return Level(policy.delays, given, policy.jitter)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    return value


def resolve(*levels: Level) -> Policy:
    """The policy of levels given from the highest to the lowest; raises ValueError where no delays are left."""
    attempts = next(level.attempts for level in levels if level.attempts is not None)
    waits = next(level for level in levels if level.delays is not None)
    return Policy(waits.delays or (), attempts, waits.jitter)
