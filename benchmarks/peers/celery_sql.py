"""Celery with its own SQLAlchemy result backend on PostgreSQL, as its docs set it up."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.peers import bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.producer import Producer

__all__ = ["app", "prepare", "producer"]


def prepare() -> None:
    """Make the tables, so that the two children do not race to."""
    app.backend.ResultSession().close()


@contextmanager
def producer() -> Iterator[Producer]:
    """`.delay()`."""
    yield bare.produce(app)


EXTENDED = {"result_extended": True, "task_track_started": True}
"""The nearest to what celery-jobs records: name, arguments, worker, queue, and a write when the task starts."""

app = bare.make_app(
    result_backend="db+" + os.environ["BENCHMARK_DATABASE_URL"],
    **(EXTENDED if os.environ.get("BENCHMARK_EXTENDED") else {}),
)
bare.add_tasks(app)
