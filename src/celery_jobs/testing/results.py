"""The result backend of a sandbox: Celery's own in memory, which never waits for what nobody runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends.cache import CacheBackend, DummyClient
from kombu.utils.functional import LRUCache

from celery_jobs.testing.complaints import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

__all__ = ["MemoryResults"]


class MemoryResults(CacheBackend):  # type: ignore[misc]
    """`cache+memory://` with a memory of its own, serializing as any backend does."""

    def __init__(self, app: Celery) -> None:
        super().__init__(app, url="memory://")
        self.client: Any = DummyClient()
        self.client.cache = LRUCache()

    def wait_for(self, task_id: str, *args: Any, **options: Any) -> Any:
        """The outcome of a task that has ended; raises SandboxError for one that has not."""
        return super().wait_for(task_id, *args, **{**options, "on_interval": lambda: _refuse({task_id})})

    def get_many(self, task_ids: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """The outcomes of tasks that have ended; raises SandboxError where one has not."""
        ids = set(task_ids)
        outcomes: Iterator[Any] = super().get_many(ids, *args, **{**options, "on_interval": lambda: _refuse(ids)})
        return outcomes


def _refuse(task_ids: set[str]) -> None:
    raise SandboxError(
        f"no result yet of {', '.join(sorted(task_ids))}, and nothing runs while get() waits: "
        "call sandbox.drain(), or sandbox.run_to_end(id), before get()"
    )
