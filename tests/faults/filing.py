"""Tasks for the stories of a database that is away, full, or handed what it cannot keep."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, NoReturn

from tests.faults.shops import new_shop

SETTINGS = "FILING_SETTINGS"
"""The environment's variable with more of the app's settings, in JSON."""

DEEP = 20_000
HUGE = 50_000_000

app = new_shop("filing", SETTINGS)


@app.task
def note(name: str, file: str) -> str:
    """Note in a file that it runs."""
    with Path(file).open("a") as notes:
        notes.write(f"{name}\n")
    return name


@app.task
def wait_for_file(gate: str, started: str, size: int = 0) -> str:
    """Note that it started, wait for a file, and give `size` letters that cannot be packed."""
    with Path(started).open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not Path(gate).exists():
        time.sleep(0.02)
    return secrets.token_hex(size // 2)


class UnspeakableError(Exception):
    """Neither says what it is nor shows it."""

    def __str__(self) -> str:
        raise ZeroDivisionError("not even its text")

    __repr__ = __str__


class NamelessError(Exception):
    """Its name is none that a database takes."""


NamelessError.__qualname__ = "Name\x00less\ud800Error"


class Unspeakable:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("not even its value")


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


UNWRITABLE: dict[str, Any] = {
    "NUL": lambda: "a\x00b",
    "a lone surrogate": lambda: "a\ud800b",
    "NUL in a key": lambda: {"a\x00b": 1},
    "a surrogate in a key": lambda: {"a\ud800b": 1},
    "NaN": lambda: float("nan"),
    "infinities": lambda: [float("inf"), {"low": float("-inf")}],
    "deep nesting": lambda: nested(DEEP),
    "a value without repr": Unspeakable,
    "50 MB": lambda: "x" * HUGE,
}
"""What tasks return, or raise an error of, by name."""


@app.task
def echo(*args: Any, **kwargs: Any) -> Any:
    """Give back the arguments."""
    return [*args, kwargs]


@app.task
def give(name: str) -> Any:
    """Return what no database takes."""
    return UNWRITABLE[name]()


@app.task(ignore_result=True)
def keep(name: str) -> Any:
    """The same where nobody waits for a result: only the jobs database is to keep it."""
    return UNWRITABLE[name]()


@app.task
def fail_with(name: str) -> NoReturn:
    """Fail with an error that says what no database takes."""
    raise ValueError(UNWRITABLE[name]())


@app.task
def fail_unspeakably() -> NoReturn:
    """Fail with an error whose text cannot be had."""
    raise UnspeakableError


@app.task
def fail_namelessly() -> NoReturn:
    """Fail with an error whose class has a name that no database takes."""
    raise NamelessError("of a class without a name")
