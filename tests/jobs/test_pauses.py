"""A paused queue: nothing of it is claimed, sent or promoted until it goes on (semantics.md section 10)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from celery_jobs import Jobs, UnknownQueue, WaitTimeout, events
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.services.promoter import Promoter
from celery_jobs.store import attempts, chains, pauses, workers
from celery_jobs.store.attempts import Unclaimed
from celery_jobs.store.rows import Claim
from celery_jobs.store.tables import queues
from tests.apps import working
from tests.jobs.conftest import ADD, FAILURE, Broker, bury, claim, succeed
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database


@pytest.mark.parametrize("database_url", BOTH, indirect=True)
class TestPaused:
    def test_nothing_of_it_is_claimed_and_the_message_burns_nothing(self, doors: Jobs, db: Database) -> None:
        id = doors.enqueue(ADD, (1, 2)).id
        doors.pause("celery")
        unclaimed = attempts.claim(db, id, new_id(), new_id(), 1350)
        assert isinstance(unclaimed, Unclaimed)
        assert unclaimed.reason == Unclaimed.PAUSED
        doors.resume("celery")
        claim(db, id)
        assert [(job.attempt_number, job.losses) for job in doors.get(id, attempts=True)] == [(1, 0)]

    def test_enqueueing_goes_on_and_nothing_is_sent_before_it_goes_on(
        self, doors: Jobs, db: Database, broker: Broker
    ) -> None:
        sent = doors.enqueue(ADD, (1, 2)).id
        running = claim(db, doors.enqueue(ADD, (1, 2)).id)
        broker.clear()
        doors.pause("celery")
        retried = chains.retry(db, running, FAILURE, chains.Next(delay=0, by_policy=True), 5)
        assert isinstance(retried, chains.Retried)
        many = doors.enqueue_many([{"task": ADD, "args": [n]} for n in range(3)])
        later, fired = (doors.enqueue(ADD, (1, 2), delay=3600).id for _ in range(2))
        doors.fire(fired)
        waiting = {doors.enqueue(ADD, (1, 2)).id, *(str(one.job_id) for one in many), retried.job_id, fired}
        assert Promoter(doors._plugin).run_once() == 0
        assert broker.count() == 0
        assert doors.resume("celery") == len(waiting)
        assert set(broker.jobs()) == waiting  # and not `sent`, whose message was on its way: the redispatcher's
        assert not {sent, later} & waiting

    def test_other_queues_go_on(self, doors: Jobs, db: Database, broker: Broker) -> None:
        doors.enqueue(ADD, (0,), queue="mail")
        doors.pause("mail")
        assert claim(db, doors.enqueue(ADD, (1, 2)).id)
        assert broker.count("mail") == 1
        doors.enqueue(ADD, (0,), queue="mail")
        assert broker.count("mail") == 1

    def test_it_goes_on_by_itself_when_its_time_has_come(self, doors: Jobs, db: Database, broker: Broker) -> None:
        made = doors.pause("celery", until=3600, by="mo", reason="the bank is closed")
        assert made.paused_until is not None
        assert abs(made.paused_until - made.paused_at - timedelta(hours=1)) < timedelta(minutes=1)
        id = doors.enqueue(ADD, (1, 2)).id
        assert broker.count() == 0
        past = datetime.now(UTC) - timedelta(seconds=1)
        db.run(lambda connection: connection.execute(queues.update().values(paused_until=past)))
        assert doors.queues()[0].paused_at is None
        assert Promoter(doors._plugin).run_once() == 1
        assert claim(db, id)
        again = doors.pause("celery")
        assert again.paused_at > made.paused_at

    def test_who_paused_it_and_why_is_told(self, doors: Jobs) -> None:
        until = datetime.now(UTC) + timedelta(hours=2)
        first = doors.pause("celery", by="mo", reason="the bank is closed")
        second = doors.pause("celery", until=until, reason="it stays closed")
        assert second.paused_at == first.paused_at
        (found,) = (queue for queue in doors.queues() if queue.queue == "celery")
        told = found.paused_at, found.paused_until, found.paused_by, found.paused_reason
        assert told == (first.paused_at, until, None, "it stays closed")
        doors.resume("celery")
        assert [queue.paused_at for queue in doors.queues() if queue.queue == "celery"] in ([], [None])

    def test_its_ends_are_told(self, doors: Jobs) -> None:
        told: list[Any] = []
        listen = events.subscribe(
            lambda event: (
                told.append((str(event.kind), event.queue, dict(event.details)))
                if event.kind.startswith("queue.")
                else None
            )
        )
        try:
            doors.pause("celery", by="mo", reason="why")
            doors.enqueue(ADD, (1, 2))
            doors.resume("celery")
            doors.resume("celery")
        finally:
            events.unsubscribe(listen)
        assert told == [
            ("queue.paused", "celery", {"until": None, "by": "mo", "reason": "why"}),
            ("queue.resumed", "celery", {"sent": 1}),
        ]

    def test_draining_waits_for_what_runs(self, doors: Jobs, db: Database) -> None:
        running, waiting = (doors.enqueue(ADD, (1, 2)).id for _ in range(2))
        held = claim(db, running)
        with pytest.raises(WaitTimeout, match="1 of its jobs still run"):
            doors.drain("celery", timeout=0.3)
        drained: list[pauses.Pause] = []
        thread = threading.Thread(target=lambda: drained.append(doors.drain("celery", reason="deploy")))
        thread.start()
        wait_until(lambda: _reason(doors) == "deploy")
        assert attempts.complete(db, held, '"done"', 5)
        thread.join(30)
        assert [pause.paused_reason for pause in drained] == ["deploy"]
        assert doors.get(waiting).status == "pending"


def _reason(doors: Jobs) -> str | None:
    return next(queue.paused_reason for queue in doors.queues() if queue.queue == "celery")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_that_began_before_has_ended_when_pause_returns(doors: Jobs, db: Database) -> None:
    id = doors.enqueue(ADD, (1, 2)).id
    won: list[Any] = []
    claimer = threading.Thread(target=lambda: won.append(attempts.claim(db, id, new_id(), new_id(), 1350)))
    pauser = threading.Thread(target=lambda: doors.pause("celery"))
    with db.transaction() as connection:
        connection.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": id})
        claimer.start()
        wait_until(lambda: _blocked(db) == 1)
        pauser.start()
        wait_until(lambda: _reason_set(doors))
        assert pauser.is_alive()
    pauser.join(30)
    assert not pauser.is_alive()
    claimer.join(30)
    assert doors.get(id).status == ("processing" if isinstance(won[0], Claim) else "pending")


def _blocked(db: Database) -> int:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE 'update jobs%'")
    with db.asking() as connection:
        return int(connection.execute(query).scalar_one())


def _reason_set(doors: Jobs) -> bool:
    return any(queue.paused_at is not None for queue in doors.queues())


def test_what_the_broker_has_already_comes_back_and_runs_later(app: Celery, doors: Jobs, broker: Broker) -> None:
    id = doors.enqueue(ADD, (1, 2)).id
    doors.pause("celery")
    with working(app):
        wait_until(lambda: _is_unsent(plugin_of(app).db, id))
        run = doors.get(id)
        assert (run.status, run.attempt_number) == ("pending", 1)
        assert doors.resume("celery") == 1
        assert doors.wait(id, timeout=30).final_status == "success"


def _is_unsent(db: Database, id: str) -> bool:
    with db.asking() as connection:
        found = connection.execute(text("SELECT sent_at FROM jobs WHERE id = :id"), {"id": id.replace("-", "")})
        return found.scalar_one() is None


# What is refused


def test_a_misspelt_queue_is_not_paused(doors: Jobs, db: Database) -> None:
    with pytest.raises(UnknownQueue, match=r"celrey.*did you mean celery\?"):
        doors.pause("celrey")
    with pytest.raises(UnknownQueue, match="jobs_queues"):
        doors.pause("qwxyz")
    assert pauses.known_queues(db) == set()


@pytest.mark.parametrize("where", ["live", "dead", "worker", "settings"])
def test_a_queue_is_known_by_what_is_there(doors: Jobs, db: Database, where: str) -> None:
    if where == "worker":
        workers.register(db, "w@h", 1, ["elsewhere"])
    elif where == "settings":
        doors._plugin.settings.queues["elsewhere"] = doors._plugin.settings.queue_defaults  # type: ignore[index]
    else:
        id = doors.enqueue(ADD, (1, 2), queue="elsewhere").id
        doors.app.amqp.queues.pop("elsewhere")
        if where == "dead":
            bury(db, id)
    assert doors.pause("elsewhere").queue == "elsewhere"


def test_what_ended_long_ago_makes_no_queue_known(doors: Jobs, db: Database) -> None:
    succeed(db, doors.enqueue(ADD, (1, 2), queue="elsewhere").id)
    doors.app.amqp.queues.pop("elsewhere")
    with pytest.raises(UnknownQueue):
        doors.pause("elsewhere")


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": 0},
        {"until": -1},
        {"until": True},
        {"until": float("inf")},
        {"until": datetime(2020, 1, 1)},
        {"by": "x" * 1025},
        {"reason": 7},
    ],
    ids=str,
)
def test_wrong_values_are_told_before_anything_is_paused(doors: Jobs, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        doors.pause("celery", **wrong)
    assert not _reason_set(doors)
