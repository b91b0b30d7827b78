"""Which runs are meant: one filter for lists, bulk verbs and every door (semantics.md sections 1 and 7)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict

from sqlalchemy import and_, case, false, func, literal, or_, select
from sqlalchemy.orm import aliased

from celery_jobs.ids import parse_id
from celery_jobs.states import FinalStatus, Status, parse_filter
from celery_jobs.store.tables import Timestamp, jobs
from celery_jobs.store.tags import has_tag
from celery_jobs.store.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from celery_jobs.store.db import Database

    Columns = ReadOnlyColumnCollection[str, Any]

__all__ = ["Filter", "Where"]

MOST_TAGS = 50
"""That one filter asks for: no job has more."""

MOST_QUEUES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs are meant; what is None is not asked. Moments are aware, or naive in UTC.

    `status`: any status or final status, as any of the documents spells it; `queue`: a name, or a list of names, one of
    which is asked for; `tag`: a value, or `key:value`, or a list of these, each of which is asked for; `error_type`:
    the exception's class, with or without its module; `error`: a text in its message, in any case; `attempts`: so many
    begun so far; `original`: an original's id; `replay_of`: the id of what was replayed; `ended`: whether the run has
    its verdict.
    Raises ValueError naming the field.
    """

    status: str | None = None
    final_status: str | None = None
    queue: str | Sequence[str] | None = None
    task: str | None = None
    tag: str | Sequence[str] | None = None
    error_type: str | None = None
    error: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    dead_lettered_after: datetime | None = None
    dead_lettered_before: datetime | None = None
    attempts: int | None = None
    original: str | None = None
    replay_of: str | None = None
    ended: bool | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                check(name, value)

    @property
    def is_empty(self) -> bool:
        """Whether every run is meant."""
        return all(getattr(self, f.name) is None for f in fields(self))

    def conditions(self, db: Database, of: Columns = jobs.c) -> list[ColumnElement[bool]]:
        """What an original's row must fulfil. `of`: the columns of such rows."""
        asked = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return [_CONDITIONS[name](db, of, value) for name, value in asked.items()]

    def tagged(self, db: Database) -> ColumnElement[bool] | None:
        """What its tags ask for, of which PostgreSQL has an index; None where it names none."""
        return None if self.tag is None else _tagged(db, jobs.c, self.tag)

    @property
    def states(self) -> set[Status | FinalStatus]:
        """The status that is asked for, the verdict, or both."""
        return {parse_filter(said) for said in (self.status, self.final_status) if said is not None}


class Where(TypedDict, total=False):
    """The fields of a Filter, as keywords of the verbs that take one."""

    status: str | None
    final_status: str | None
    queue: str | Sequence[str] | None
    task: str | None
    tag: str | Sequence[str] | None
    error_type: str | None
    error: str | None
    created_after: datetime | None
    created_before: datetime | None
    dead_lettered_after: datetime | None
    dead_lettered_before: datetime | None
    attempts: int | None
    original: str | None
    replay_of: str | None
    ended: bool | None


def _check_state(name: str, value: Any) -> None:
    _check_text(name, value)
    try:
        state = parse_filter(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if name == "final_status" and state not in set(FinalStatus):
        raise ValueError(f"final_status: one of {', '.join(FinalStatus)} is expected, not {value!r}")


def _check_id(name: str, value: Any) -> None:
    if parse_id(value) is None:
        raise ValueError(f"{name}: a job's id is expected, not {value!r}")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or value != clean(value):
        raise ValueError(f"{name}: a text is expected, not {value!r}")


def _check_tags(name: str, value: Any) -> None:
    if not isinstance(value, str | list | tuple) or not 1 <= len(_tags(value)) <= MOST_TAGS:
        raise ValueError(f"{name}: a text, or a list of 1 to {MOST_TAGS} texts, is expected, not {value!r}")
    for tag in _tags(value):
        _check_text(name, tag)


def _check_queues(name: str, value: Any) -> None:
    if isinstance(value, list | tuple) and not 1 <= len(value) <= MOST_QUEUES:
        raise ValueError(f"{name}: a text, or a list of 1 to {MOST_QUEUES:,} texts, is expected, not {value!r}")
    for queue in value if isinstance(value, list | tuple) else [value]:
        _check_text(name, queue)


def _check_moment(name: str, value: Any) -> None:
    if not isinstance(value, datetime):
        raise ValueError(f"{name}: a datetime is expected, not {value!r}")
    try:
        _in_utc(value)
    except OverflowError:
        raise ValueError(f"{name}: a moment between the years 1 and 9999 in UTC is expected, not {value}") from None


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise ValueError(f"{name}: a whole number from 1 is expected, not {value!r}")


def _check_bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: True or False is expected, not {value!r}")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("status", "final_status"), _check_state),
    **dict.fromkeys(("original", "replay_of"), _check_id),
    "queue": _check_queues,
    **dict.fromkeys(("task", "error_type", "error"), _check_text),
    "tag": _check_tags,
    **dict.fromkeys(("created_after", "created_before", "dead_lettered_after", "dead_lettered_before"), _check_moment),
    "attempts": _check_count,
    "ended": _check_bool,
}


def _in_state(db: Database, of: Columns, value: str) -> ColumnElement[bool]:
    state = parse_filter(value)
    return _latest(of, "status", of.status, state) if isinstance(state, Status) else _has_verdict(db, of, value)


def _has_verdict(db: Database, of: Columns, value: str) -> ColumnElement[bool]:
    verdict = FinalStatus(parse_filter(value))
    is_so: ColumnElement[bool] = of.final_status == verdict
    # The partial indexes of the dead-letter queue answer that one.
    return and_(of.dead_lettered_at.is_not(None), is_so) if verdict is FinalStatus.DEAD_LETTERED else is_so


def _latest(of: Columns, column: str, own: Any, value: Any) -> ColumnElement[bool]:
    """Whether a chain's latest attempt says this; only one that has failed was followed by another.

    The primary key and the index of the attempts find it.
    """
    job = aliased(jobs)
    mine = or_(job.c.id == of.id, and_(job.c.original_id == of.id, job.c.attempt_number > 1))
    query = select(job.c[column]).where(mine).order_by(job.c.attempt_number.desc()).limit(1)
    latest = query.correlate_except(job).scalar_subquery() == value
    return case((of.status == Status.FAILED, latest), else_=own == value)


def _tagged(db: Database, of: Columns, value: str | Sequence[str]) -> ColumnElement[bool]:
    return and_(*(has_tag(of.tags, tag, db.is_sqlite) for tag in _tags(value)))


def _tags(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _failed_as(db: Database, of: Columns, value: str) -> ColumnElement[bool]:
    name = func.coalesce(of.last_error_type, of.error_type)
    if not value or value.startswith("."):
        return false()
    # Not LIKE, which is blind to case on SQLite.
    end = func.substr(name, func.length(name) - len(value), len(value) + 1)
    return or_(name == value, end == f".{value}")


def _says(db: Database, of: Columns, text: str) -> ColumnElement[bool]:
    message = func.lower(func.coalesce(of.last_error_message, of.error_message, ""))
    wanted = text.lower()
    for letter in sorted(set(wanted)):
        if not letter.isascii() and letter.upper() != letter:
            # SQLite, and PostgreSQL with the C locale, know the case of ASCII only.
            message = func.replace(message, letter.upper(), letter)
    return message.contains(wanted, autoescape=True)


def _moment(value: datetime) -> Any:
    return literal(_in_utc(value), Timestamp)


_CONDITIONS: dict[str, Callable[[Database, Columns, Any], ColumnElement[bool]]] = {
    "status": _in_state,
    "final_status": _has_verdict,
    "queue": lambda db, of, value: of.queue == value if isinstance(value, str) else of.queue.in_(value),
    "task": lambda db, of, value: of.task == value,
    "tag": _tagged,
    "error_type": _failed_as,
    "error": _says,
    "created_after": lambda db, of, value: of.created_at >= _moment(value),
    "created_before": lambda db, of, value: of.created_at < _moment(value),
    "dead_lettered_after": lambda db, of, value: of.dead_lettered_at >= _moment(value),
    "dead_lettered_before": lambda db, of, value: of.dead_lettered_at < _moment(value),
    "attempts": lambda db, of, value: _latest(of, "attempt_number", of.attempt_number, value),
    "original": lambda db, of, value: of.id == parse_id(value),
    "replay_of": lambda db, of, value: of.replay_of == parse_id(value),
    "ended": lambda db, of, value: of.ended_at.is_not(None) if value else of.ended_at.is_(None),
}
