from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from celery_jobs.ids import new_id
from celery_jobs.runs import Page, Run, job_json, make_run
from celery_jobs.store.rows import Job

MOMENT = datetime(2026, 4, 10, 12, 0, 1, 234_567, tzinfo=UTC)
SHOWN = "2026-04-10T12:00:01.234Z"


def _job(**overrides: Any) -> Job:
    job_id = overrides.get("id") or new_id()
    values: dict[str, Any] = {
        "id": job_id,
        "original_id": job_id,
        "task_id": job_id,
        "task": "shop.charge",
        "queue": "shop",
        "status": "pending",
        "final_status": None,
        "attempt_number": 1,
        "max_attempts": 4,
        "retries_enabled": True,
        "is_retry": False,
        "has_pending_retry": False,
        "created_at": MOMENT,
        "scheduled_at": MOMENT,
    }
    return Job(**{**values, **overrides})


@pytest.fixture
def chain() -> list[Job]:
    """A chain that failed once and waits for its retry."""
    original = _job(
        status="failed",
        final_status="retrying",
        has_pending_retry=True,
        started_at=MOMENT,
        finished_at=MOMENT,
        duration_ms=12,
        error_type="ValueError",
        error_message="card declined",
        failure_reason="exception",
        tags=["shop"],
        idempotency_key="order-1",
        lease_token=new_id(),
    )
    later = MOMENT + timedelta(seconds=60)
    again = _job(original_id=original.id, task_id=original.task_id, attempt_number=2, is_retry=True, queue="mail")
    return [original, replace(again, scheduled_at=later)]


def test_a_run_shows_its_latest_attempt_and_its_originals_verdict(chain: list[Job]) -> None:
    run = make_run(chain)
    assert (run.id, run.task_id, run.attempt_number) == (chain[0].id, chain[0].task_id, 2)
    assert (run.status, run.final_status, run.queue, run.scheduled_at) == (
        "pending",
        "retrying",
        "mail",
        chain[1].scheduled_at,
    )
    assert (run.has_pending_retry, run.tags, run.idempotency_key) == (True, ["shop"], "order-1")
    assert (run.error_message, run.duration_ms, run.finished_at) == (None, None, None)
    assert run.attempts == tuple(chain)
    assert not run.has_ended


def test_a_run_has_the_result_response_and_error_of_its_last_attempt(chain: list[Job]) -> None:
    chain[0] = replace(chain[0], final_status="success", has_pending_retry=False, ended_at=MOMENT)
    chain[1] = replace(
        chain[1], status="completed", final_status="success", result='{"paid": [1, null]}', duration_ms=87
    )
    run = make_run(chain)
    assert (run.status, run.final_status, run.result, run.duration_ms) == (
        "completed",
        "success",
        {"paid": [1, None]},
        87,
    )
    assert run.has_ended


@pytest.mark.parametrize("result", ["null", "0", '""', "[]", "false"])
def test_an_empty_result_is_told_from_none(result: str) -> None:
    assert make_run([_job(result=result)]).result == json.loads(result)


def test_the_json_form_can_be_written_and_has_every_field(chain: list[Job]) -> None:
    shown = json.loads(json.dumps(make_run(chain).to_json()))
    of_response = {"response_headers", "response_body", "response_body_base64", "response_truncated"}
    assert set(shown) == {field.name for field in fields(Run)} - {"response"} | of_response
    assert [attempt["attempt_number"] for attempt in shown["attempts"]] == [1, 2]


def test_times_are_utc_and_end_in_z() -> None:
    names = [field.name for field in fields(Job) if field.name.endswith("_at")]
    job = _job(**dict.fromkeys(names, MOMENT))
    shown = make_run([job]).to_json()
    times = {name: value for name, value in {**shown, **shown["attempts"][0]}.items() if name.endswith("_at")}
    assert len(times) > 8
    assert set(times.values()) == {SHOWN}


def test_times_of_other_zones_are_shown_in_utc() -> None:
    moment = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert job_json(_job(created_at=moment))["created_at"] == SHOWN


def test_a_time_without_fraction_has_the_same_form() -> None:
    assert job_json(_job(created_at=MOMENT.replace(microsecond=0)))["created_at"] == "2026-04-10T12:00:01.000Z"


def test_an_attempt_shows_no_secrets_of_the_house(chain: list[Job]) -> None:
    shown = job_json(chain[0])
    assert not {"lease_token", "lease_expires_at", "nesting", "reuse", "untold_at"} & set(shown)
    assert chain[0].lease_token is not None
    assert chain[0].lease_token not in json.dumps(shown)
    assert chain[0].lease_token not in repr(chain[0])


def test_a_page_is_its_runs(chain: list[Job]) -> None:
    run = make_run(chain)
    page = Page((run,), "next")
    assert (list(page), len(page), page.cursor) == ([run], 1, "next")
