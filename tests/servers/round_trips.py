"""What a process asks of a PostgreSQL server: each time that it waits for an answer, as its driver writes it down."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import pq
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.store.db import Database

__all__ = ["round_trips"]

SENT = re.compile(r'^F\t\d+\t(?:(Query|Parse)\s+(?:"\w*" )?"([^"]*)|(Sync))', re.MULTILINE)


@contextmanager
def round_trips(db: Database) -> Iterator[list[str]]:
    """The words of each round trip within the context, once it has ended; BEGIN and COMMIT count as any other."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace")
        with file.open("w") as trace:

            def begin(driver: Any, *_: object) -> None:
                driver.pgconn.trace(trace.fileno())
                driver.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)

            def end(driver: Any, *_: object) -> None:
                if driver is not None:
                    driver.pgconn.untrace()

            event.listen(db.engine, "checkout", begin)
            event.listen(db.engine, "checkin", end)
            try:
                yield said
            finally:
                event.remove(db.engine, "checkout", begin)
                event.remove(db.engine, "checkin", end)
        said += _read(file.read_text())


def _read(trace: str) -> Iterator[str]:
    """One for each Query or Sync: a statement that is parsed, bound and executed in one go is one."""
    words = "(prepared)"
    for kind, text, sync in SENT.findall(trace):
        words = " ".join(text.split()) or words
        if sync or kind == "Query":
            yield words
            words = "(prepared)"
