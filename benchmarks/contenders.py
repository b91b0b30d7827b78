"""Who is measured: celery-jobs, bare Celery and the peers, each set up as its own docs recommend.

Their modules in `peers` import their packages and run in their environments; what is known of them without is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import version

__all__ = ["BARE", "OURS", "PEERS", "Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender. `packages`: what its environment needs beside Python, its own first; none: it runs in ours.

    `worker`: the command after the environment's `bin/`, run `processes` times; `recorded`: counts what its tables say
    is done since the moment `%(since)s`.
    """

    name: str
    module: str
    worker: tuple[str, ...]
    packages: tuple[str, ...] = ()
    processes: int = 1
    has_database: bool = False
    recorded: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The distribution that it is."""
        return re.split(r"[\[<>=]", self.packages[0])[0] if self.packages else "celery"


def _celery(module: str) -> tuple[str, ...]:
    """Prefork with two children; without the chatter between workers, which is not what is measured."""
    app = f"benchmarks.peers.{module}:app"
    options = ("-c", "2", "-P", "prefork", "--loglevel", "WARNING", "--without-mingle", "--without-gossip")
    return ("python", "-m", "celery", "-A", app, "worker", *options)


OURS, BARE = "celery-jobs", "bare Celery"

_IN_TASKMETA = "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'"

_ALL = (
    Peer(
        OURS,
        "ours",
        _celery("ours"),
        has_database=True,
        recorded="SELECT count(*) FROM jobs"
        " WHERE ended_at >= %(since)s AND status = 'completed' AND finished_at IS NOT NULL AND queue = 'celery'",
    ),
    Peer(BARE, "bare", _celery("bare")),
    Peer("Celery, SQL backend", "celery_sql", _celery("celery_sql"), has_database=True, recorded=_IN_TASKMETA),
    Peer(
        "Celery, SQL backend, extended",
        "celery_sql",
        _celery("celery_sql"),
        has_database=True,
        recorded=_IN_TASKMETA,
        variables={"BENCHMARK_EXTENDED": "1"},
    ),
    Peer(
        "django-celery-results",
        "celery_django",
        _celery("celery_django"),
        (
            "django-celery-results>=2.6,<3",
            f"celery[redis]=={version('celery')}",
            f"kombu=={version('kombu')}",
            "django>=5.2,<6",
            "psycopg[binary]>=3.2",
        ),
        has_database=True,
        recorded="SELECT count(*) FROM django_celery_results_taskresult WHERE status = 'SUCCESS'",
    ),
    Peer(
        "procrastinate",
        "procrastinate",
        ("procrastinate", "--app", "benchmarks.peers.procrastinate.app", "worker"),
        ("procrastinate>=3.10,<4", "psycopg[binary,pool]>=3.2"),
        processes=2,
        has_database=True,
        recorded="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    ),
    Peer(
        "pgqueuer",
        "pgqueuer",
        ("python", "-m", "benchmarks.peers.pgqueuer"),
        ("pgqueuer[asyncpg]>=1.6,<2",),
        processes=2,
        has_database=True,
    ),
    Peer("Dramatiq", "dramatiq", ("dramatiq", "benchmarks.peers.dramatiq", "-p", "2"), ("dramatiq[redis]>=2.2,<3",)),
    # Its docs: the worker that forks in production, the simple one where jobs are as short as these.
    Peer(
        "RQ",
        "rq",
        ("rq", "worker-pool", "-n", "2", "-q", "-w", "rq.worker.SimpleWorker", "-u", "{broker}"),
        ("rq>=3,<4",),
    ),
    Peer("RQ, forking", "rq", ("rq", "worker-pool", "-n", "2", "-q", "-u", "{broker}"), ("rq>=3,<4",)),
    Peer(
        "huey",
        "huey",
        ("huey_consumer", "benchmarks.peers.huey.huey", "-w", "2", "-k", "process", "-q"),
        ("huey>=3.5,<4", "redis>=5"),
    ),
    # It pins a client for Redis that Celery refuses: one more reason for an environment each.
    Peer("arq", "arq", ("arq", "benchmarks.peers.arq.WorkerSettings"), ("arq>=0.28,<0.29",), processes=2),
    Peer(
        "taskiq",
        "taskiq",
        ("taskiq", "worker", "benchmarks.peers.taskiq:broker", "--workers", "2", "--log-level", "WARNING"),
        ("taskiq>=0.13,<0.14", "taskiq-redis>=1.2,<2"),
    ),
)

PEERS: dict[str, Peer] = {peer.name: peer for peer in _ALL}
"""Every contender by its name, ours and bare Celery first."""
