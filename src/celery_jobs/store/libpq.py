"""Running a statement through PostgreSQL's own library, which psycopg stands on: prepared once a connection, then run.

psycopg's cursor takes longer to send a statement and to wait for its answer than the server to carry it out. Adapting
values stays psycopg's: text goes in, binary comes out.
"""

from __future__ import annotations

import select
import sys
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from sqlalchemy import LargeBinary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGconn, PGresult
    from sqlalchemy.types import TypeEngine

__all__ = ["ServerStatement", "takes_it"]

BYTEA = 17
"""PostgreSQL's number of the one type that is said, as no cast says it: bytes go in as they are."""

_numbers = count(1)


def takes_it(driver: psycopg.Connection[Any]) -> bool:
    """Whether a connection may be used so: not behind a pooler, nor among greenlets, which psycopg lets run beside."""
    return driver.prepare_threshold is not None and not _is_green()


def _is_green() -> bool:
    """Whether this process's sockets are those of greenlets."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return (gevent is not None and gevent.is_module_patched("socket")) or (
        eventlet is not None and eventlet.is_monkey_patched("socket")
    )


class ServerStatement:
    """One statement with numbered parameters, `types` by their order. At most one row comes back."""

    def __init__(self, text: str, types: Sequence[TypeEngine[Any]]) -> None:
        binary = [isinstance(type_, LargeBinary) for type_ in types]
        self._name = f"celery_jobs_{next(_numbers)}".encode()
        self._text = text.encode()
        self._types = [BYTEA if is_binary else 0 for is_binary in binary]
        self._formats = [Format.BINARY if is_binary else Format.TEXT for is_binary in binary]
        self._ways = [PyFormat.BINARY if is_binary else PyFormat.TEXT for is_binary in binary]
        self._known: WeakKeyDictionary[psycopg.Connection[Any], Any] = WeakKeyDictionary()
        """The connections that have it prepared, with what adapts values for each."""

    def first(
        self, driver: psycopg.Connection[Any], values: Sequence[Any], meanwhile: Callable[[], None] | None = None
    ) -> tuple[Any, ...] | None:
        """The row that comes back, if any; raises what psycopg raises. Waits in C, where signals wait too.

        `meanwhile`: what to do while the server works.
        """
        adapt = self._known.get(driver) or self._prepare(driver)
        given = (self._name, adapt.dump_sequence(values, self._ways), self._formats, Format.BINARY)
        result = driver.pgconn.exec_prepared(*given) if meanwhile is None else _beside(driver.pgconn, given, meanwhile)
        if result.status != ExecStatus.TUPLES_OK:
            raise _error(driver, result)
        if result.ntuples == 0:
            return None
        adapt.set_pgresult(result)
        row: tuple[Any, ...] = adapt.load_row(0, tuple)
        return row

    def _prepare(self, driver: psycopg.Connection[Any]) -> Any:
        result = driver.pgconn.prepare(self._name, self._text, self._types)
        if result.status != ExecStatus.COMMAND_OK:
            raise _error(driver, result)
        adapt = self._known[driver] = Transformer(driver.adapters)  # not of the connection, which it would keep
        return adapt


def _beside(pgconn: PGconn, given: Any, meanwhile: Callable[[], None]) -> PGresult:
    """Send, do something else, and wait: not in libpq, which would hold the interpreter's lock."""
    pgconn.send_query_prepared(*given)
    try:
        meanwhile()
        return _result(pgconn)
    except BaseException:
        pgconn.finish()  # nobody is to meet the answer
        raise


def _result(pgconn: PGconn) -> PGresult:
    readable = select.poll()
    while pgconn.flush():
        readable.register(pgconn.socket, select.POLLIN | select.POLLOUT)
        readable.poll()
        pgconn.consume_input()
    readable.register(pgconn.socket, select.POLLIN)
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            readable.poll()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return results[0]
        results.append(result)


def _error(driver: psycopg.Connection[Any], result: Any) -> psycopg.Error:
    if driver.pgconn.status == ConnStatus.BAD:
        return psycopg.OperationalError(result.get_error_message())
    return error_from_result(result)
