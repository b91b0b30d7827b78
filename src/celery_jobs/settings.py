"""The `jobs_*` settings: read once from the Celery app's configuration, validated, frozen. Every default is here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from celery_jobs.addresses import AddressPolicy
from celery_jobs.assertions import Assertion, read_assertions
from celery_jobs.errors import InvalidSettings
from celery_jobs.policy import Level, parse_level, resolve
from celery_jobs.rules import RULES, Rule, unknown
from celery_jobs.signing import Secret, read_secrets

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["MAX_DELAY", "RUNAWAY_GRACE", "QueueSettings", "Settings", "read_settings"]

PREFIX = "jobs_"

MAX_DELAY = 86_400
"""Seconds; the longest `delay` our own doors take (semantics.md section 5)."""

RUNAWAY_GRACE = 30
"""Seconds past its hard limit that an attempt may run where the pool does not end it (semantics.md section 6)."""

CALLBACK_TIMEOUT = 10.0
"""Seconds that a callback may take in all (semantics.md section 8)."""

CALLBACK_LEASE = 30.0
"""Seconds after which somebody else sends a callback whose sender has said nothing of it: it died."""

CALLBACKS_AT_ONCE, CALLBACKS_A_HOST = 8, 2
"""Callbacks that a worker sends at the same time, and of those to one host (semantics.md section 8)."""

TIMEOUT_GRACE = 10
"""Seconds from a queue's `timeout`, at which a task may clean up, to its end by force."""

HTTP_TIMEOUT, HTTP_TIMEOUTS = 30.0, (1, 300)
"""Seconds that the whole request of an HTTP job may take; the least and the most that may be asked for."""

HTTP_NO_RETRY_STATUSES = (410,)
"""Statuses of a response after which retrying cannot help (semantics.md section 9)."""

RESPONSE_BYTES, ASSERTED_BYTES = 65_536, 1_048_576
"""Bytes of a response's body that are kept, and that are read for assertions on it."""


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
    timeout: float | None = None
    """Seconds that an attempt may take; None: HTTP jobs 30, other tasks as long as they like."""
    assertions: tuple[Assertion, ...] = ()
    """What the responses to the queue's HTTP jobs must be besides 2xx."""

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
    callback_secrets: tuple[Secret, ...] = ()
    """Secrets (`whsec_…`) that callbacks are signed with, by each of them: the new one first while they rotate."""
    callback_retry_delays: tuple[float, ...] = ()
    """Seconds before the second, third … try of a callback that failed; none: one try."""
    http_allowed_addresses: tuple[str, ...] = ()
    """Addresses and networks (CIDR) that requests may go to although they are not public."""
    http_allowed_hosts: tuple[str, ...] = ()
    """Names that may lead to private addresses; `.corp.example` is every name below `corp.example`."""
    http_blocked_ports: tuple[int, ...] = ()
    """Ports that no request goes to, whatever else is allowed."""
    max_retry_after: float = 86_400
    """Seconds that a server's `Retry-After` may put off the next attempt of an HTTP job."""

    def queue(self, name: str) -> QueueSettings:
        """Settings of the queue `name`."""
        return self.queues.get(name, self.queue_defaults)

    @property
    def redacted(self) -> frozenset[str]:
        """The names of `redact` in lower case."""
        return frozenset(name.lower() for name in self.redact)

    @property
    def address_policy(self) -> AddressPolicy:
        """Where requests may go."""
        return AddressPolicy(*(tuple(getattr(self, f"http_{name}")) for name in _POLICY))


_POLICY = ("allowed_addresses", "allowed_hosts", "blocked_ports")


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
            problems.append(unknown(f"{PREFIX}{name}", [f"{PREFIX}{k}" for k in known]))
        elif name == "callback_secrets":
            accepted[name], faults = read_secrets(value)
            problems.extend(f"{PREFIX}{name}: {fault}" for fault in faults)
        elif name not in ("queue_defaults", "queues"):
            _check(accepted, name, value, _TYPES[name], problems, PREFIX)
    defaults = _queue(values.get("queue_defaults", {}), QueueSettings(), f"{PREFIX}queue_defaults", problems)
    queues = _queues(values.get("queues", {}), defaults, problems)
    _check_addresses(accepted, problems)
    if problems:
        raise InvalidSettings(problems)
    return Settings(**accepted, queue_defaults=defaults, queues=queues)


def _check_addresses(accepted: Mapping[str, Any], problems: list[str]) -> None:
    for name in _POLICY:
        try:
            AddressPolicy(**{name: tuple(accepted.get(f"http_{name}", ()))})
        except ValueError as error:
            problems.append(f"{PREFIX}http_{name}: {error}")


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
    if "assertions" in values:
        accepted["assertions"], faults = read_assertions(values.pop("assertions"))
        problems.extend(f"{where}.assertions{'' if fault.startswith('[') else ': '}{fault}" for fault in faults)
    for name, value in values.items():
        if name not in _QUEUE_TYPES:
            problems.append(f"{where}: " + unknown(str(name), [*_QUEUE_TYPES, *_READ_APART]))
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


def _check(accepted: dict[str, Any], name: str, value: Any, rule: Rule, problems: list[str], prefix: str) -> None:
    if rule.accepts(value):
        accepted[name] = value
    else:
        problems.append(f"{prefix}{name}: {rule.expected} is expected, not {value!r}")


_TYPES = {n: RULES[t] for n, t in get_type_hints(Settings).items() if t in RULES}
_TYPES["database_url"] = Rule(
    "an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name or sqlite:///file",
    lambda v: isinstance(v, str) and re.match(r"^[a-z0-9+]+:/", v) is not None,
)
_QUEUE_TYPES = {
    n: RULES[t] for n, t in get_type_hints(QueueSettings).items() if n not in ("retry_delays", "assertions")
}
_READ_APART = ("assertions", "retry_delays", "retry_policy", "max_retries")
