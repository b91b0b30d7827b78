from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs import Actor, AuditedJobs, JobEnded, Jobs, StoreUnavailable
from celery_jobs.audit import CHANGES
from celery_jobs.audit_log import ActNotFound
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.services.sweepers import HistorySweeper
from celery_jobs.store import audit
from celery_jobs.store.db import now
from celery_jobs.store.tables import audit as acts
from tests.jobs.conftest import ADD, dead, many_dead

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.bulk import Progress
    from celery_jobs.store.db import Database

LOOKING = {
    *("get", "find", "arguments", "list", "count", "wait", "preview", "what_if", "check", "examine", "events"),
    *("queues", "error_groups", "running", "wait_idle", "schedules", "get_schedule", "tokens", "acts", "act"),
    *("timeline", "services", "workers"),
}
WORK = {"claim", "complete", "fail", "heartbeat"}
GATHERING = {"batch"}
"""Whose enqueues are an app's own code."""


@pytest.fixture
def ada(app: Celery) -> AuditedJobs:
    return AuditedJobs(app, Actor("ada", "dashboard", "192.0.2.7"))


def test_every_verb_is_written_down_or_changes_nothing() -> None:
    verbs = {name for name, _ in inspect.getmembers(Jobs, inspect.isfunction) if not name.startswith("_")}
    assert verbs == CHANGES | LOOKING | WORK | GATHERING
    assert not CHANGES & (LOOKING | WORK | GATHERING)


def test_an_act_says_who_did_what_to_what_and_why(ada: AuditedJobs, db: Database) -> None:
    id = dead(ada, db)
    ada.replay(id, reason="the bank is back")
    act = ada.acts()[0]
    assert (act.actor, act.door, act.address, act.action) == ("ada", "dashboard", "192.0.2.7", "replay")
    assert (act.target, act.reason) == ({"id": id}, "the bank is back")
    assert (act.result, act.done, act.error) == ("done", 1, None)
    assert act.finished_at is not None
    assert act.at <= act.finished_at
    assert ada.act(act.id) == act


def test_looking_writes_nothing(ada: AuditedJobs, db: Database) -> None:
    id = dead(Jobs(ada.app), db)
    ada.get(id)
    ada.list()
    ada.queues()
    ada.replay_many([id], dry_run=True)
    assert ada.acts() == []


def test_what_was_refused_is_said(ada: AuditedJobs, db: Database) -> None:
    id = dead(ada, db)
    with pytest.raises(JobEnded):
        ada.cancel(id)
    act = ada.acts()[0]
    assert (act.action, act.result, act.done) == ("cancel", "refused", None)
    assert str(act.error).startswith("JobEnded: ")


def test_an_act_that_nobody_could_write_down_is_not_done(
    ada: AuditedJobs, monkeypatch: pytest.MonkeyPatch, doors: Jobs
) -> None:
    run = doors.enqueue(ADD, (1,), delay=600)

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(audit, "begin", away)
    with pytest.raises(StoreUnavailable):
        ada.cancel(run.id)
    assert doors.get(run.id).status == "pending"


def test_what_broke_off_says_that_it_began(ada: AuditedJobs, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    id = dead(Jobs(ada.app), db)
    monkeypatch.setattr(audit, "end", lambda *_, **__: None)  # as if the process had died in it
    ada.replay(id)
    act = ada.acts()[0]
    assert (act.result, act.is_interrupted) == (None, False)
    with db.transaction() as connection:
        connection.execute(update(acts).values(updated_at=now(-60)))
    assert ada.act(act.id).is_interrupted


def test_the_arguments_of_jobs_and_secrets_are_not_told(new_app: Callable[..., Celery]) -> None:
    ada = AuditedJobs(new_app(jobs_redact=["token"]), Actor("ada", "cli"))
    run = ada.enqueue(ADD, ("canary",), {"y": "canary"}, tags={"token": "canary", "kind": "x"}, delay=600)
    ada.enqueue_http("https://example.com/?token=canary", headers={"X": "canary"}, payload="canary", delay=600)
    ada.make_token("ci", ["read"])
    ada.reason = "token=canary was leaked"
    ada.cancel(run.id)
    told = [act.to_json() for act in ada.acts()]
    assert "canary" not in str(told)
    assert told[-1]["target"] == {"name": ADD, "tags": {"token": "***", "kind": "x"}, "delay": 600}


def test_a_bulk_act_counts_and_names_its_filter(ada: AuditedJobs, db: Database) -> None:
    ids = many_dead(Jobs(ada.app), db, 120)
    result = ada.replay_many(reason="again", queue="celery", final_status="dead_lettered")
    act = ada.acts()[0]
    assert (act.matched, act.done, act.skipped, act.result) == (120, result.done, 0, "done")
    assert act.target == {"queue": "celery", "final_status": "dead_lettered"}
    ada.purge_many(ids)
    act = ada.acts()[0]
    assert (len(act.target["ids"]), act.target["ids_count"], act.done) == (100, 120, 120)


def test_a_bulk_act_is_stopped_from_elsewhere(
    ada: AuditedJobs, doors: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_jobs.audit.NOTE_PAUSE", 0)
    many_dead(doors, db, 20)
    seen: list[Progress] = []

    def progress(reached: Progress) -> None:
        seen.append(reached)
        (act,) = doors.acts(action="purge_many")
        assert act.result is None
        doors.stop_act(act.id)

    result = ada.purge_many(queue="celery", rate=4, progress=progress)
    assert (result.stopped, result.done) == (True, seen[-1].done)
    act = doors.acts(action="purge_many")[0]
    assert (act.result, act.done, act.matched) == ("stopped", result.done, 20)
    assert act.stop_requested_at is not None


def test_acts_come_by_pages_and_filters(app: Celery, ada: AuditedJobs, doors: Jobs) -> None:
    bob = AuditedJobs(app, Actor("bob", "cli"))
    for number in range(3):
        (bob if number % 2 else ada).enqueue(ADD, (number,), delay=600)
    doors.enqueue(ADD, (9,))  # by the app itself: no act
    first = doors.acts(limit=2)
    rest = doors.acts(cursor=first[-1].id)
    assert [act.actor for act in first + rest] == ["ada", "bob", "ada"]
    assert [act.actor for act in doors.acts(actor="bob")] == ["bob"]
    assert len(doors.acts(door="dashboard", action="enqueue")) == 2
    assert doors.acts(action="replay") == []
    with pytest.raises(ValueError, match=r"^cursor: "):
        doors.acts(cursor="x")
    with pytest.raises(ActNotFound):
        doors.act(new_id())


def test_old_acts_are_swept(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_audit_retention_days=30)
    ada = AuditedJobs(app, Actor("ada", "cli"))
    for number in range(3):
        ada.enqueue(ADD, (number,), delay=600)
    newest, *old = ada.acts()
    with plugin_of(app).db.transaction() as connection:
        connection.execute(
            update(acts).where(acts.c.id.in_([act.id for act in old])).values(at=newest.at - timedelta(days=31))
        )
    HistorySweeper(plugin_of(app)).run_once()
    assert ada.acts() == [newest]
