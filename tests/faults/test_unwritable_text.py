"""Text that no database takes, through real workers: each job ends by its own outcome, and says what it can of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kombu import serialization

from celery_jobs import PayloadNotSerializable
from celery_jobs.store.tables import jobs
from tests.faults.filing import DEEP, HUGE, UNWRITABLE, nested
from tests.faults.office import Office
from tests.servers.databases import BOTH
from tests.store.conftest import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_jobs.store.rows import Job

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", BOTH, indirect=True)]

QUICK: dict[str, Any] = {"jobs_redispatch_after": 0.2, "jobs_redispatch_interval": 0.2, "jobs_max_refusals": 2}
ONCE: dict[str, Any] = {"max_attempts": 1}
NOT_FOR_CELERY = ("deep nesting", "a value without repr")
"""Results that Celery's JSON cannot say: a result store that waits for them makes the job fail."""


@pytest.fixture
def office(broker_url: str, database_url: str, tmp_path: Path) -> Iterator[Office]:
    """An office with a worker of two processes, which outlives it all."""
    with Office(broker_url, database_url, tmp_path, **QUICK) as office:
        worker = office.worker()
        children = worker.children()
        yield office
        assert (worker.process.poll(), worker.children()) == (None, children)
        office.assert_sound()


def only(office: Office, job_id: str) -> Job:
    """A job that has ended in its first run."""
    (row,) = office.ended(job_id, office.workers[0], 30)
    assert row.losses == 0
    return row


def test_whatever_a_task_returns_the_job_ends(office: Office) -> None:
    kept = {name: office.send("keep", name, ignore_result=True) for name in UNWRITABLE}
    given = {name: office.send("give", name, **ONCE) for name in UNWRITABLE if name != "50 MB"}
    for name, job_id in kept.items():
        row = only(office, job_id)
        assert (name, row.final_status) == (name, "success")
        json.loads(row.result or "", parse_constant=pytest.fail)
    for name, job_id in given.items():
        row = only(office, job_id)
        wanted = ("dead_lettered", "kombu.exceptions.EncodeError") if name in NOT_FOR_CELERY else ("success", None)
        assert (name, row.final_status, row.error_type) == (name, *wanted)
    assert json.loads(only(office, kept["NUL"]).result or "") == "a\x00b"
    assert json.loads(only(office, kept["a lone surrogate"]).result or "") == "a\ud800b"
    assert "50,000,002 bytes in all" in str(json.loads(only(office, kept["50 MB"]).result or ""))


@pytest.mark.matrix
def test_whatever_an_error_says_the_job_fails_by_it(office: Office) -> None:
    failed = {name: office.send("fail_with", name, **ONCE) for name in UNWRITABLE}
    unspeakable = office.send("fail_unspeakably", **ONCE)
    nameless = office.send("fail_namelessly", **ONCE)
    for name, job_id in failed.items():
        row = only(office, job_id)
        assert (name, row.final_status, row.error_type) == (name, "dead_lettered", "ValueError")
        assert "fail_with" in (row.traceback or "") or name == "50 MB"
    assert only(office, failed["NUL"]).error_message == "a\ufffdb"
    huge = only(office, failed["50 MB"])
    assert f"{HUGE:,} bytes in all" in (huge.error_message or "")
    assert (huge.traceback or "").startswith("[cut, 50,")
    shown = only(office, unspeakable)
    assert (shown.final_status, shown.error_type) == ("dead_lettered", "tests.faults.filing.UnspeakableError")
    assert shown.error_message == "<str of UnspeakableError raised ZeroDivisionError>"
    assert_named(only(office, nameless))


def test_an_error_that_cannot_be_pickled_is_named_where_it_is_retried_too(office: Office) -> None:
    """Celery wraps what it cannot pickle, and the wrapper is not what the task raised."""
    rows = office.ended(office.send("fail_namelessly", max_attempts=2, retry_delays=[0.1]), office.workers[0])
    assert len(rows) == 2
    for row in rows:
        assert_named(row)


def assert_named(row: Job) -> None:
    """The error is called what can be written of its name."""
    assert row.error_type == "tests.faults.filing.Name\ufffdless\ufffd\ufffd\ufffdError"
    assert row.error_message == "of a class without a name"


def test_arguments_are_what_they_were(office: Office) -> None:
    for value in ("a\x00b", "a\ud800b", float("inf"), [{"a\x00": None}], {"\udfff": "é🎉"}):
        row = only(office, office.send("echo", value, kwargs={"a\x00b": 1, "\ud800": value}))
        assert row.final_status == "success"
        assert json.loads(row.result or "") == [said(value), {"a\x00b": 1, "\ud800": said(value)}]
    row = only(office, office.send("echo", float("nan"), kwargs={"low": float("-inf")}))
    assert json.loads(row.result or "") == ["nan", {"low": "-inf"}]


def said(value: Any) -> Any:
    """A value as a result shows it: JSON has no infinity."""
    return str(value) if isinstance(value, float) else value


def test_arguments_nested_too_deep_are_a_typed_error_or_else_buried_in_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller's serializer refuses them; a worker cannot read those of a caller whose serializer goes deeper."""
    with pytest.raises(PayloadNotSerializable):
        office.send("echo", nested(DEEP))
    assert count(office.db, jobs) == 0
    encode = serialization.registry._encoders["json"]

    def deeper(body: Any) -> str:
        return str(encode.encoder(body)).replace('"deep"', "[" * DEEP + "]" * DEEP)

    monkeypatch.setitem(serialization.registry._encoders, "json", encode._replace(encoder=deeper))
    job_id = office.send("echo", "deep")
    monkeypatch.undo()
    row = only(office, job_id)
    assert (row.final_status, row.failure_reason) == ("dead_lettered", "undecodable")
    assert only(office, office.send("echo", 1)).final_status == "success"
