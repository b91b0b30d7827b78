"""One wording for each kind of event, with the job's fields on the record."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from celery_jobs import logs
from celery_jobs.events import DETAILS, Event, Kind, emit, subscribe, subscribers, unsubscribe

JOB = SimpleNamespace(id="j1", original_id="o1", task_id="t1", task="shop.charge", queue="shop", attempt_number=2)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_words(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    details = {name: f"<{name}>" for name in DETAILS.get(kind, ())}
    with caplog.at_level(logging.DEBUG, "celery_jobs"):
        logs.log(Event(kind, "j1", "o1", "t1", "shop.charge", "shop", 2, details))
    (record,) = caplog.records
    assert "%(" not in record.getMessage()
    assert "None" not in record.getMessage()


def test_a_text_cannot_begin_a_record_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    forged = 'no\n{"level": "error", "message": "forged"}\r\x1b[2J\u2028é'
    with caplog.at_level(logging.DEBUG, "celery_jobs"):
        logs.log(Event(Kind.DEAD_LETTERED, "j1", "o1", "t1", "shop\nforged", "shop", 2, {"error": forged}))
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert "\x1b" not in record.getMessage()
    assert 'no\\n{"level": "error"' in record.getMessage()
    assert "é" in record.getMessage()


def test_no_two_kinds_share_their_words() -> None:
    wordings = [wording for _, wording in logs._WORDINGS.values()]
    assert len(set(wordings)) == len(wordings) == len(Kind)


def test_a_record_has_the_fields_of_its_job(caplog: pytest.LogCaptureFixture) -> None:
    known = logs.log in subscribers()
    if not known:
        subscribe(logs.log)
    try:
        with caplog.at_level(logging.INFO, "celery_jobs"):
            emit(Kind.DEAD_LETTERED, JOB, error="no stock")
    finally:
        if not known:
            unsubscribe(logs.log)
    (record,) = caplog.records
    assert record.getMessage() == "job o1 (shop.charge) is dead-lettered after attempt 2: no stock"
    fields = {name: vars(record)[name] for name in ("event", "job_id", "original_id", "task_id", "task", "queue")}
    assert fields == {
        "event": "job.dead_lettered",
        "job_id": "j1",
        "original_id": "o1",
        "task_id": "t1",
        "task": "shop.charge",
        "queue": "shop",
    }
    assert vars(record)["attempt_number"] == 2
