"""A transaction of a caller's own, in a sandbox: it is on another database, and the jobs follow its commit in here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from celery_jobs.store.transactions import following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from celery_jobs.store.db import AfterCommit, Database

__all__ = ["lend"]


class Written:
    """What one enqueue has written, and what is to be done once that is kept."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._statements: list[tuple[str, Any]] = []
        self._then: list[Callable[[], None]] = []

    def note(self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        """Take down a statement that is about to be executed."""
        self._statements.append((statement, parameters))

    def repeat(self, connection: Connection) -> None:
        """Write it on another connection."""
        for statement in self._statements:
            connection.exec_driver_sql(*statement)

    def follow(self, act: Callable[[], None]) -> None:
        """Take what is to be done once it is kept."""
        self._then.append(act)

    def __call__(self) -> None:
        """Keep it: the caller's transaction is committed."""
        with self._db.transaction() as connection:
            self.repeat(connection)
        for act in self._then:
            act()


@contextmanager
def lend(db: Database, session: Any) -> Iterator[tuple[Connection, AfterCommit]]:
    """A connection for one enqueue in a caller's transaction: it sees what that has enqueued, and keeps nothing.

    What is written on it is written again after the caller's commit. Raises InvalidJob for what is no transaction.
    """
    with following(session) as (after_commit, waiting):
        written = Written(db)
        with db.engine.connect() as connection, connection.begin() as rehearsal:
            for earlier in waiting:
                if isinstance(earlier, Written):
                    earlier.repeat(connection)
            event.listen(connection, "before_cursor_execute", written.note)
            yield connection, written.follow
            rehearsal.rollback()
        after_commit(written)
