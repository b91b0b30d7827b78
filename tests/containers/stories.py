"""What the stories do: enqueue, see what has run, let go of what is held, look at the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.store import reads
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_celery import CeleryTestNode, CeleryTestSetup

    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Job

__all__ = ["Story"]

SECONDS = 30


class Story:
    """Jobs of tests/containers/shop.py, each known by its name."""

    def __init__(self, setup: CeleryTestSetup, db: Database) -> None:
        self.setup = setup
        self.worker = setup.worker
        self.broker = setup.broker
        self.db = db
        self._ids: dict[str, str] = {}
        # Runs are told of by way of the result store: it is not struck, and every container reaches it.
        self._told: Any = setup.backend.container.client

    def close(self) -> None:
        """Leave the result store."""
        self._told.close()

    def enqueue(self, task: str, name: str, *arguments: Any) -> None:
        """Enqueue a task with the name of its job."""
        result = self.setup.app.send_task(f"tests.containers.shop.{task}", (name, *arguments))
        self._ids[name] = result.job_id

    def let_go(self, name: str) -> None:
        """End what `hold` holds, now and whenever it runs again."""
        self._told.set(f"let go of {name}", 1)

    def runs(self, name: str) -> list[int]:
        """The process of each run that has begun."""
        return [int(pid) for pid in self._told.lrange(f"runs of {name}", 0, -1)]

    def job(self, name: str) -> Job:
        """The job's one attempt."""
        (job,) = reads.attempts(self.db, self._ids[name])
        return job

    def outcome(self, name: str) -> tuple[str, str | None, int, int]:
        """Status, final status, losses and runs of a job."""
        job = self.job(name)
        return job.status, job.final_status, job.losses, len(self.runs(name))

    def await_runs(self, name: str, number: int) -> list[int]:
        """Wait until so many runs have begun; gives their processes."""
        self.until(lambda: len(self.runs(name)) >= number, f"{name} ran {number} times")
        return self.runs(name)

    def await_completed(self, *names: str) -> None:
        """Wait until these jobs are completed."""
        self.until(lambda: all(self.job(name).status == "completed" for name in names), f"completed: {names}")

    def await_exit(self, node: CeleryTestNode) -> None:
        """Wait until a container has ended by itself."""

        def has_ended() -> bool:
            node.container.reload()
            return bool(node.container.status == "exited")

        self.until(has_ended, f"{node.name()} ended")

    def broker_is_empty(self) -> bool:
        """Whether no message of a job waits in the broker, or was fetched and not acknowledged."""
        with self.broker.container.client as client:
            return not client.llen("celery") and not client.hlen("unacked")

    def is_delivered_again(self) -> bool:
        """Whether the worker holds a message that the broker took back from somebody."""
        with self.broker.container.client as client:
            return any('"redelivered": true' in message for message in client.hvals("unacked"))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; where it does not come true, say what was waited for."""
        wait_until(condition, SECONDS, f"not so: {what}")
