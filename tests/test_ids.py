from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_jobs.ids import made_at, new_id, parse_id


def test_an_id_is_a_uuid_of_version_7_with_the_present_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    id = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert (id.version, id.variant) == (7, uuid.RFC_4122)
    assert before <= id.int >> 80 <= after


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1, 999_999, 1_000_000, 1_000_300, 1_999_999, 2_000_000, 10**18, 10**18 + 250, 10**18 + 10**6]
    ids = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        ids.append(new_id())
    assert ids == sorted(ids)
    assert {uuid.UUID(id).version for id in ids} == {7}


def test_an_id_tells_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 4, 10, 12, 0, 1, 234_567, UTC)
    monkeypatch.setattr(time, "time_ns", lambda: int(moment.timestamp() * 1_000_000) * 1000)
    assert moment - timedelta(milliseconds=1) < made_at(new_id()) <= moment


def test_no_id_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "spelling", [str, str.upper, lambda id: id.replace("-", ""), lambda id: f"{{{id}}}", lambda id: f"urn:uuid:{id}"]
)
def test_an_id_is_read_in_every_spelling(spelling: Any) -> None:
    id = new_id()
    assert parse_id(spelling(id)) == id


@pytest.mark.parametrize("text", ["", "order-7", "0" * 31, "g" * 32, "\x00" * 32, None, 7])
def test_what_is_no_id_is_none(text: Any) -> None:
    assert parse_id(text) is None
