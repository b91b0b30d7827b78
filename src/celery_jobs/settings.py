"""The `jobs_*` settings, frozen. Every default is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from celery_jobs.destinations import Destinations
from celery_jobs.policy import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.addresses import AddressPolicy
    from celery_jobs.assertions import Assertion
    from celery_jobs.sealing import Key
    from celery_jobs.signing import Secret

__all__ = ["MAX_DELAY", "RUNAWAY_GRACE", "Mode", "Places", "QueueSettings", "Roles", "Settings", "Starts"]

Mode = Literal["celery", "pull"]
Places = int
"""How many jobs may run at once."""
Starts = str
"""How many may start in a time: `100/m`."""
Roles = dict[str, str]
"""Roles by the names of who signs in to Flower: `{"*@example.com": "operator"}`."""

MAX_DELAY = 86_400
"""Seconds; the longest `delay` our own doors take (semantics.md section 5)."""

RUNAWAY_GRACE = 30
"""Seconds past its hard limit that an attempt may run where the pool does not end it (semantics.md section 6)."""

CANCEL_PAUSE = 1.0
"""Seconds between two questions of an attempt whether it was cancelled (semantics.md section 10)."""

TERMINATE_PAUSE = 2.0
"""Seconds between two looks of a worker for what it runs and is to kill; with nothing running it does not look."""

TERMINATE_GRACE = 10.0
"""Seconds from the signal by which a process may clean up, to its end by force."""

CALLBACK_TIMEOUT = 10.0
"""Seconds that a callback may take in all (semantics.md section 8)."""

CALLBACK_LEASE = 30.0
"""Seconds after which somebody else sends a callback whose sender has said nothing of it: it died."""

CALLBACKS_AT_ONCE, CALLBACKS_A_HOST = 8, 2
"""Callbacks that a worker sends at the same time, and of those to one host (semantics.md section 8)."""

ALERT_LEASE = 120.0
"""Seconds after which another worker sends an alert whose sender has said nothing of it: it died."""

ALERT_TIMEOUT = 30.0
"""Seconds that the services of an alert may take, side by side; who is not done by then has failed."""

ALERT_RETRY_DELAYS = (30, 60, 120, 240, 480, 960)
"""Seconds before an alert that reached nobody is sent again; the last one repeats."""

ALERT_HORIZON = 86_400
"""Seconds after which a dead letter that nobody could be told of is news no more."""

LONGEST_ALERT_WINDOW = 43_200
"""Seconds; well below the horizon, so that nothing in a window is too old at its end."""

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
    alerts_enabled: bool = False
    """Tell `jobs_alert_urls` of every dead letter."""
    visibility_timeout: float = 1350
    """Seconds of a claim's lease where no worker's heartbeat bounds it."""
    timeout: float | None = None
    """Seconds that an attempt may take; None: HTTP jobs 30, other tasks as long as they like."""
    assertions: tuple[Assertion, ...] = ()
    """What the responses to the queue's HTTP jobs must be besides 2xx."""
    mode: Mode = "celery"
    """`pull`: its jobs are payloads that outside workers claim, and nothing of it is sent to the broker."""
    concurrency_limit: Places | None = None
    """Jobs of the queue that run at once at most, over all workers together."""
    rate_limit: Starts | None = None
    """Jobs of it that start in any second, minute or hour at most, over all workers: `5/s`, `100/m`, `1000/h`."""

    @property
    def is_limited(self) -> bool:
        """Whether the queue limits what runs at once, or what starts in a time."""
        return self.concurrency_limit is not None or self.rate_limit is not None

    @property
    def is_pull(self) -> bool:
        """Whether outside workers claim its jobs."""
        return self.mode == "pull"

    @property
    def level(self) -> Level:
        """What the queue says of retries."""
        return Level(tuple(self.retry_delays), self.max_attempts, self.jitter)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `jobs_*` on the Celery app says."""

    database_url: str = field(default="sqlite:///celery-jobs.sqlite3", repr=False)
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
    encryption_keys: tuple[Key, ...] = ()
    """Keys (`2026-11:…`) to keep arguments, results and answers encrypted: the first encrypts, all decrypt."""
    broker_timeout: float = 1.0
    """Seconds that one answer of the broker may take while a job is sent."""
    broker_retry_interval: float = 5
    """Seconds without a try to send after the broker has failed."""
    broker_priorities: bool = True
    """False: messages keep the priority that Celery gives them, unmarked ones too."""
    database_timeout: float = 2
    """Seconds to reach the database before an enqueue raises StoreUnavailable."""
    database_pooler: bool = False
    """True: PostgreSQL is reached through a pooler in transaction mode, as PgBouncer's."""
    async_claims: bool = False
    """True: PostgreSQL may forget a claim when it crashes, whose job then may run twice at once; it claims faster."""
    callback_secrets: tuple[Secret, ...] = ()
    """Secrets (`whsec_…`) that callbacks are signed with, by each of them: the new one first while they rotate."""
    callback_retry_delays: tuple[float, ...] = ()
    """Seconds before the second, third … try of a callback that failed; none: one try."""
    alert_urls: Destinations = field(default_factory=Destinations)
    """Apprise URLs that alerts go to: a list for all queues, or lists by queue, `*` for those that have none."""
    alert_window: float = 300
    """Seconds in which a queue's further dead letters are gathered into one alert."""
    http_allowed_addresses: tuple[str, ...] = ()
    """Addresses and networks (CIDR) that requests may go to although they are not public."""
    http_allowed_hosts: tuple[str, ...] = ()
    """Names that may lead to private addresses; `.corp.example` is every name below `corp.example`."""
    http_blocked_ports: tuple[int, ...] = ()
    """Ports that no request goes to, whatever else is allowed."""
    max_retry_after: float = 86_400
    """Seconds that a server's `Retry-After` may put off the next attempt of an HTTP job."""

    roles: Roles = field(default_factory=dict)
    """What who signs in to Flower may: names or patterns with one role each, viewer, operator or admin; {}: all."""
    rest_tasks: tuple[str, ...] = ("*",)
    """Names of the tasks that REST and the page New job may enqueue, also patterns: `shop.*`."""
    rest_max_waiting: int = 100_000
    """Jobs of a queue that may have not ended for REST to make one more; then 429."""
    audit_retention_days: float = 365
    """Days that an act is kept in the audit log."""

    def queue(self, name: str) -> QueueSettings:
        """Settings of the queue `name`."""
        return self.queues.get(name, self.queue_defaults)

    @property
    def pull_queues(self) -> list[str]:
        """Names of the queues whose jobs outside workers claim."""
        return [name for name, queue in self.queues.items() if queue.is_pull]

    @property
    def alerted_queues(self) -> tuple[list[str] | None, list[str]]:
        """The queues whose dead letters somebody is told of; None: all but those of the second list."""
        named = sorted({*self.queues, *self.alert_urls.queues})
        told = [name for name in named if self.queue(name).alerts_enabled and self.alert_urls.of(name)]
        if self.queue_defaults.alerts_enabled and self.alert_urls.others:
            return None, [name for name in named if name not in told]
        return told, []

    @property
    def redacted(self) -> frozenset[str]:
        """The names of `redact` in lower case."""
        return frozenset(name.lower() for name in self.redact)

    @property
    def address_policy(self) -> AddressPolicy:
        """Where requests may go."""
        from celery_jobs.addresses import AddressPolicy

        return AddressPolicy(
            tuple(self.http_allowed_addresses), tuple(self.http_allowed_hosts), tuple(self.http_blocked_ports)
        )
