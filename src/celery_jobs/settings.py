"""The `jobs_*` settings: read once from the Celery app's configuration, validated, frozen. Every default is here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from celery_jobs.errors import InvalidSettings
from celery_jobs.policy import MAX_ATTEMPTS, Level, parse_level, resolve

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["MAX_DELAY", "RUNAWAY_GRACE", "QueueSettings", "Settings", "read_settings"]

PREFIX = "jobs_"

MAX_DELAY = 86_400
"""Seconds; the longest `delay` our own doors take (semantics.md section 5)."""

RUNAWAY_GRACE = 30
"""Seconds past its hard limit that an attempt may run where the pool does not end it (semantics.md section 6)."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the jobs of one queue are treated (semantics.md section 3)."""

    retries_enabled: bool = True
    """False: a failure ends the chain as failed_no_retries, whatever job or task say."""
    retry_delays: tuple[float, ...] = (60, 1800, 10800)
    """Seconds before attempts 2, 3, 4 ...; the last one repeats."""
    max_attempts: int | None = None
    """Attempts of a chain, the first included; None: 1 + len(retry_delays)."""
    jitter: bool = False
    """Draw each delay from its upper half."""
    dlq_retention_days: float = 14
    """Days that a dead letter is kept."""
    history_retention_days: float = 30
    """Days that an ended chain outside the dead-letter queue is kept, from its end."""
    visibility_timeout: float = 1350
    """Seconds of a claim's lease where no worker's heartbeat bounds it."""

    @property
    def level(self) -> Level:
        """What the queue says of retries."""
        return Level(tuple(self.retry_delays), self.max_attempts, self.jitter)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `jobs_*` on the Celery app says."""

    database_url: str = "sqlite:///celery-jobs.sqlite3"
    """SQLAlchemy URL of the jobs database: postgresql+psycopg://... or sqlite:///file."""
    queue_defaults: QueueSettings = field(default_factory=QueueSettings)
    """Settings of every queue that `jobs_queues` does not list."""
    queues: Mapping[str, QueueSettings] = field(default_factory=dict)
    """Settings by queue name, over the defaults."""
    service_queue: str = "celery-jobs"
    """The Celery queue of beat's ticks; every worker consumes it besides its -Q."""
    promote_interval: float = 60
    """Seconds between two looks for jobs that fall due."""
    promote_ahead: float = 75
    """Seconds before its time that a delayed job may be sent to the broker."""
    promote_batch: int = 1000
    """Jobs sent ahead a queue and look."""
    redispatch_interval: float = 60
    """Seconds between two looks for lost messages."""
    redispatch_after: float = 120
    """Seconds after which a sent job that nobody claimed is sent again; doubles to 900."""
    max_sends: int = 20
    """Times that one attempt is sent at most."""
    reap_interval: float = 15
    """Seconds between two looks for dead workers and lost leases."""
    sweep_interval: float = 86_400
    """Seconds between two removals of old dead letters and old history."""
    heartbeat_interval: float = 15
    """Seconds between two heartbeats of a worker."""
    worker_timeout: float = 60
    """Seconds of silence after which a worker is declared dead."""
    max_losses: int = 3
    """Losses of a worker that end a chain."""
    max_refusals: int = 10
    """Times that a job is sent to workers which do not know its task, or cannot read it, before it is buried."""
    max_payload_bytes: int = 1_048_576
    """Bytes of a job's serialized arguments."""
    max_result_bytes: int = 65_536
    """Bytes of a result that are kept."""
    max_traceback_bytes: int = 32_768
    """Bytes of a traceback that are kept."""
    redact: tuple[str, ...] = ()
    """Names of keys whose values are masked in every output, nested ones too, in any case; what runs keeps them."""
    broker_timeout: float = 1.0
    """Seconds that one answer of the broker may take while a job is sent."""
    broker_retry_interval: float = 5
    """Seconds without a try to send after the broker has failed."""
    broker_priorities: bool = True
    """False: messages keep the priority that Celery gives them, unmarked ones too."""
    database_timeout: float = 2
    """Seconds to reach the database before an enqueue raises StoreUnavailable."""

    def queue(self, name: str) -> QueueSettings:
        """Settings of the queue `name`."""
        return self.queues.get(name, self.queue_defaults)

    @property
    def redacted(self) -> frozenset[str]:
        """The names of `redact` in lower case."""
        return frozenset(name.lower() for name in self.redact)


def read_settings(app: Celery) -> Settings:
    """Read every `jobs_*` key of `app.conf`, also those given through `namespace="CELERY"`.

    Raises InvalidSettings with all faults at once and the nearest right name of each unknown one.
    """
    return parse_settings(_configured(app))


def _configured(app: Celery) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mapping in reversed(app.conf.maps):
        for key, value in dict(mapping).items():
            name = _name_of(str(key), getattr(app, "namespace", None))
            if name is not None:
                found[name] = value
    return found


def _name_of(key: str, namespace: str | None) -> str | None:
    lowered = key.lower()
    for prefix in (PREFIX, f"{namespace.lower()}_{PREFIX}" if namespace else PREFIX, f"celery_{PREFIX}"):
        if lowered.startswith(prefix):
            return lowered.removeprefix(prefix)
    return None


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Make Settings of plain values (keys without the prefix); raises InvalidSettings with all faults."""
    problems: list[str] = []
    known = {f.name for f in fields(Settings)}
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            problems.append(_unknown(f"{PREFIX}{name}", [f"{PREFIX}{k}" for k in known]))
        elif name not in ("queue_defaults", "queues"):
            _check(accepted, name, value, _TYPES[name], problems, PREFIX)
    defaults = _queue(values.get("queue_defaults", {}), QueueSettings(), f"{PREFIX}queue_defaults", problems)
    queues = _queues(values.get("queues", {}), defaults, problems)
    if problems:
        raise InvalidSettings(problems)
    return Settings(**accepted, queue_defaults=defaults, queues=queues)


def _queues(given: Any, defaults: QueueSettings, problems: list[str]) -> dict[str, QueueSettings]:
    if not isinstance(given, Mapping):
        problems.append(f"{PREFIX}queues: a dictionary of queue names is expected, not {given!r}")
        return {}
    return {str(n): _queue(v, defaults, f"{PREFIX}queues[{n!r}]", problems) for n, v in given.items()}


def _queue(given: Any, base: QueueSettings, where: str, problems: list[str]) -> QueueSettings:
    if isinstance(given, QueueSettings):
        given = {f.name: getattr(given, f.name) for f in fields(QueueSettings)}
    if not isinstance(given, Mapping):
        problems.append(f"{where}: a dictionary is expected, not {given!r}")
        return base
    merged = {f.name: getattr(base, f.name) for f in fields(QueueSettings)}
    before = len(problems)
    accepted = _queue_values(given, where, problems)
    if "retry_delays" in accepted:
        # A level that gives delays without max_attempts sets both; a list is exact.
        merged.update(max_attempts=None, jitter=False)
    merged.update(accepted)
    queue = QueueSettings(**merged)
    if len(problems) == before and queue.retries_enabled:
        _check_policy(queue, where, problems)
    return queue


def _queue_values(given: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    values = dict(given)
    accepted: dict[str, Any] = {}
    _unfold_policy(values, accepted, where, problems)
    for name, value in values.items():
        if name not in _QUEUE_TYPES:
            problems.append(
                f"{where}: " + _unknown(str(name), [*_QUEUE_TYPES, "retry_delays", "retry_policy", "max_retries"])
            )
        else:
            _check(accepted, name, value, _QUEUE_TYPES[name], problems, f"{where}.")
    return accepted


def _unfold_policy(values: dict[str, Any], accepted: dict[str, Any], where: str, problems: list[str]) -> None:
    """Read the four ways to say a policy as the job's and the task's are read."""
    given = {name: values.pop(name) for name in ("retry_policy", "retry_delays", "max_retries") if name in values}
    if not given:
        return
    attempts = values.pop("max_attempts", None)
    try:
        level = parse_level(**given, max_attempts=attempts)
    except (TypeError, ValueError) as error:
        problems.append(f"{where}: {error}")
        return
    if level.delays is not None:
        accepted.update(retry_delays=level.delays, jitter=level.jitter)
    if level.max_attempts is not None:
        accepted["max_attempts"] = level.max_attempts


def _check_policy(queue: QueueSettings, where: str, problems: list[str]) -> None:
    try:
        resolve(queue.level)
    except ValueError as error:
        problems.append(f"{where}: {error}")


def _check(accepted: dict[str, Any], name: str, value: Any, rule: _Rule, problems: list[str], prefix: str) -> None:
    if rule.accepts(value):
        accepted[name] = value
    else:
        problems.append(f"{prefix}{name}: {rule.expected} is expected, not {value!r}")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
    return f"{name} is not a setting{hint}"


@dataclass(frozen=True, slots=True)
class _Rule:
    expected: str
    accepts: Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


_RULES: dict[Any, _Rule] = {
    bool: _Rule("True or False", lambda v: isinstance(v, bool)),
    int: _Rule("a whole number above 0", lambda v: _number(v) and isinstance(v, int)),
    float: _Rule("a number above 0", _number),
    str: _Rule("a text", lambda v: isinstance(v, str) and v != ""),
    tuple[str, ...]: _Rule(
        "a list of texts",
        lambda v: isinstance(v, list | tuple | set | frozenset) and all(isinstance(n, str) and n for n in v),
    ),
    int | None: _Rule(
        f"a whole number from 1 to {MAX_ATTEMPTS}, or None",
        lambda v: v is None or (_number(v) and isinstance(v, int) and v <= MAX_ATTEMPTS),
    ),
}

_TYPES = {n: _RULES[t] for n, t in get_type_hints(Settings).items() if n not in ("queue_defaults", "queues")}
_TYPES["database_url"] = _Rule(
    "an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name or sqlite:///file",
    lambda v: isinstance(v, str) and re.match(r"^[a-z0-9+]+:/", v) is not None,
)
_QUEUE_TYPES = {n: _RULES[t] for n, t in get_type_hints(QueueSettings).items() if n != "retry_delays"}
