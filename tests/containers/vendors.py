"""What these tests add to pytest-celery's vendors: a worker with celery-jobs, its settings, and a PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_celery import CeleryTestContainer, CeleryWorkerContainer

from tests.containers import shop

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ROOT", "SETTINGS", "JobsDatabase", "JobsWorkerContainer", "PostgresContainer"]

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = {
    "jobs_queue_defaults": {"retry_delays": [0.2]},
    "jobs_heartbeat_interval": 0.3,
    "jobs_worker_timeout": 1.5,
    "jobs_reap_interval": 0.5,
    "jobs_redispatch_after": 1,
    "jobs_redispatch_interval": 0.5,
    "jobs_database_timeout": 10,  # a busy machine is slow, not away
    "broker_connection_retry_on_startup": True,
}


@dataclass(frozen=True, slots=True)
class JobsDatabase:
    """The jobs' database as the test and as the worker's container reach it."""

    url: str
    worker_url: str


class JobsWorkerContainer(CeleryWorkerContainer):  # type: ignore[misc]
    """The stock worker with our app and tasks, one process in its pool, and no time lost on other workers."""

    @classmethod
    def command(cls, *args: str, **options: Any) -> list[str]:
        command: list[str] = super().command("--without-mingle", "--without-gossip", "-c", "1", *args, **options)
        return command

    @classmethod
    def app_module(cls) -> ModuleType:
        from tests.containers import worker_app

        return worker_app

    @classmethod
    def tasks_modules(cls) -> set[ModuleType]:
        return {shop}


class PostgresContainer(CeleryTestContainer):  # type: ignore[misc]
    """PostgreSQL in a container, for Docker: SQLite's locks do not hold between a container and this machine."""

    IMAGE = "postgres:17"
    PORT = "5432/tcp"
    ENV = {"POSTGRES_PASSWORD": "jobs", "POSTGRES_DB": "jobs"}

    @property
    def ready_prompt(self) -> str:
        """Said also by the server that initialises the data; that one listens on no port."""
        return "database system is ready to accept connections"

    @property
    def database(self) -> JobsDatabase:
        """Its one database."""
        hostname = self.attrs["Config"]["Hostname"]
        address = "postgresql+psycopg://postgres:jobs@{}:{}/jobs"
        return JobsDatabase(address.format("localhost", self._wait_port(self.PORT)), address.format(hostname, 5432))
