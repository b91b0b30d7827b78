"""The stories of the matrix: what passes a failpoint, and how every chain of it ends whatever is struck there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import Celery
from sqlalchemy import update

from celery_jobs import AlreadyReplayed, Jobs, telling
from celery_jobs.errors import StoreUnavailable
from celery_jobs.failpoints import POINTS
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.settings import CALLBACK_LEASE
from celery_jobs.states import FailureReason
from celery_jobs.store import attempts, chains, endings, reads, workers
from celery_jobs.store.db import now
from celery_jobs.store.rows import Claim, Failure
from celery_jobs.store.tables import schedules
from celery_jobs.ticker import Ticker
from celery_jobs.worker.messenger import Messenger
from tests.apps import make_app
from tests.failpoints.shop import NEVER
from tests.store.conftest import shift

if TYPE_CHECKING:
    from tests.failpoints.stage import Stage

KEY = "once"
"""The idempotency key of a producer that tries again when it was not answered."""
FOREIGN_ID = "an-id-of-a-foreign-producer"
DAYS = 86_400

Act = Callable[[Celery], object]


def points(*names: str) -> tuple[str, ...]:
    """The points of transitions, and those that are named themselves."""
    stages = ("begun", "written", "committed")
    return tuple(p for name in names for p in ([name] if name in POINTS else [f"{name}.{stage}" for stage in stages]))


@dataclass(frozen=True, slots=True)
class Story:
    """What happens in a case, and what must be true after it, wherever and however it was struck."""

    points: tuple[str, ...]
    ends: tuple[str, ...]
    """The verdicts of all chains, the oldest first."""
    runs: range = range(1, 2)
    """How often each of the files `names` may have been written to."""
    names: tuple[str, ...] = ("job",)
    prepare: Callable[[Stage], object] = lambda stage: None
    act: Callable[[Stage], Act] | None = None
    """What a process of its own does; None: it is a worker that passes the point."""
    again: Callable[[Stage], object] = lambda stage: None
    """What those outside do who were not answered."""
    in_pool: bool = True
    """Whether a pool's child passes the point, not the worker's parent."""
    knows_work: bool = True
    heals_itself: bool = True
    """Whether a worker that has lost a reply needs nobody else to bring its job to an end."""
    sends_at_once: bool = False
    """Whether the act has sent every job by the time that it is answered, and nothing is left to the services."""
    check: Callable[[Stage], object] = field(default=lambda stage: None)
    """What else must be true at the end."""


def enqueue_once(stage: Stage) -> Act:
    return Enqueue((stage.file("job"),))


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Enqueues a job for each file, one by one or in one go."""

    files: tuple[str, ...]
    at_once: bool = False

    def __call__(self, app: Celery) -> object:
        if not self.at_once:
            return app.tasks["work"].apply_async((self.files[0], "return"), idempotency_key=KEY).job_id
        items = [{"task": "work", "args": [f, "return"], "idempotency_key": f"{KEY} {f}"} for f in self.files]
        return [outcome.job_id for outcome in Jobs(app).enqueue_many(items, atomic=True)]


THREE = ("first", "second", "third")


def enqueue_three(stage: Stage) -> Act:
    return Enqueue(tuple(stage.file(name) for name in THREE), at_once=True)


def due_schedule(stage: Stage) -> None:
    """A schedule that ticks now, and not again in this case."""
    Jobs(stage.app).schedule("yearly", "work", [stage.file("job"), "return"], every=366 * DAYS, missed="run")
    stage.db.run(lambda connection: connection.execute(update(schedules).values(next_at=now())))


@dataclass(frozen=True, slots=True)
class Tick:
    """A look of beat's thread for what is due, and another where the database was away."""

    def __call__(self, app: Celery) -> object:
        ticker = Ticker(plugin_of(app))
        with suppress(StoreUnavailable):
            return ticker.look()
        return ticker.look()


def send_foreign(stage: Stage) -> None:
    """A message without our mark; sent again as a broker delivers again what nobody acknowledged."""
    producer = make_app(stage.place.broker_url, stage.place.database_url, install=False)
    producer.send_task("work", (stage.file("job"), "return"), task_id=FOREIGN_ID)
    producer.close()


def enqueue(*ways: str, **options: Any) -> Callable[[Stage], object]:
    return lambda stage: stage.enqueue("job", *ways, **options)


def claimed_by_the_dead(stage: Stage, losses: int = 0) -> None:
    """A job whose worker has not been heard of for an hour."""
    job_id = stage.enqueue("job", "return")
    for loss in range(losses + 1):
        worker = workers.register(stage.db, "gone@here", 1, ["celery"])
        token = claim(stage, job_id, worker).lease_token
        if loss < losses:
            assert endings.lose(stage.db, job_id, losses + 1, lease_token=token) is True
    stage.lose_messages()
    shift(stage.db, NEVER)


def claim(stage: Stage, job_id: str, worker: str) -> Claim:
    won = attempts.claim(stage.db, job_id, worker, str(uuid4()), NEVER)
    assert isinstance(won, Claim)
    return won


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a service."""

    service: str

    def __call__(self, app: Celery) -> object:
        return make_service(plugin_of(app), self.service).run_once()


def turn_of(service: str) -> Callable[[Stage], Act]:
    return lambda stage: Turn(service)


def held_until_now(stage: Stage) -> None:
    stage.enqueue("job", "return", countdown=NEVER / 2)
    shift(stage.db, NEVER)


def sent_and_lost(stage: Stage) -> None:
    stage.enqueue("job", "return")
    stage.lose_messages()
    shift(stage.db, NEVER)
    workers.register(stage.db, "alive@here", 1, ["celery"])


def expired(stage: Stage) -> None:
    stage.enqueue("job", "return", expires=datetime.now(UTC) + timedelta(seconds=NEVER / 2))
    stage.lose_messages()
    shift(stage.db, NEVER)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancels a job."""

    job_id: str

    def __call__(self, app: Celery) -> object:
        return Jobs(app).cancel(self.job_id).final_status


def cancel(stage: Stage) -> Act:
    return Cancel(stage.first_id())


def cancel_again(stage: Stage) -> None:
    assert cancel(stage)(stage.app) == "cancelled"


def cancelled_while_it_runs(stage: Stage) -> None:
    worker = workers.register(stage.db, "here@here", 1, ["celery"])
    job = claim(stage, stage.enqueue("job", "return"), worker)
    stage.lose_messages()
    assert endings.cancel(stage.db, job.id, terminate=True) is True


@dataclass(frozen=True, slots=True)
class Kill:
    """Ends a job whose process was killed."""

    job: Claim

    def __call__(self, app: Celery) -> object:
        endings.kill(plugin_of(app).db, self.job.id, self.job.lease_token)
        return telling.tell(plugin_of(app), self.job.id)


def kill(stage: Stage) -> Act:
    ((row,),) = stage.chains()
    job = reads.claim_of(stage.db, row.id, str(row.lease_token))
    assert job is not None
    return Kill(job)


def dead_letter(stage: Stage) -> None:
    job = claim(stage, stage.enqueue("job", "return"), str(uuid4()))
    chains.bury(stage.db, job, Failure(FailureReason.EXCEPTION, "RuntimeError", "it failed"), untold=True)
    assert telling.tell(plugin_of(stage.app), job.id)
    stage.lose_messages()


@dataclass(frozen=True, slots=True)
class Replay:
    """Replays a job."""

    job_id: str

    def __call__(self, app: Celery) -> object:
        return Jobs(app).replay(self.job_id, reason="a test").id


def replay(stage: Stage) -> Act:
    return Replay(stage.first_id())


def replay_again(stage: Stage) -> None:
    try:
        replay(stage)(stage.app)
    except AlreadyReplayed:
        assert stage.chains()[0][0].replayed_as is not None


def old_dead_letter(stage: Stage) -> None:
    dead_letter(stage)
    shift(stage.db, 15 * DAYS)


def sweep_again(stage: Stage) -> None:
    Turn("dead-letter-sweeper")(stage.app)


def owes_a_callback(stage: Stage) -> None:
    job = claim(stage, stage.enqueue("job", "return", callback_url=stage.receiver.url()), str(uuid4()))
    assert attempts.complete(stage.db, job, '"return"', 5, untold=True)
    assert telling.tell(plugin_of(stage.app), job.id, again=True)
    stage.lose_messages()


def has_sent_its_callback(stage: Stage) -> None:
    owes_a_callback(stage)
    assert Deliver()(stage.app)
    assert len(stage.receiver.received) == 1


@dataclass(frozen=True, slots=True)
class Deliver:
    """Sends what callbacks are due."""

    def __call__(self, app: Celery) -> object:
        messenger = Messenger(plugin_of(app))
        messenger.send_due()
        done = messenger.wait(CALLBACK_LEASE)
        messenger.stop()
        return done


def deliver(stage: Stage) -> Act:
    return Deliver()


@dataclass(frozen=True, slots=True)
class Resend:
    """Asks for a callback once more."""

    job_id: str

    def __call__(self, app: Celery) -> object:
        return Jobs(app).resend_callback(self.job_id).id


def resend(stage: Stage) -> Act:
    return Resend(stage.first_id())


def told_others(stage: Stage, times: range) -> None:
    """When every lease has run out, whoever looks sends what is left; the receiver knows it by its id."""
    shift(stage.db, CALLBACK_LEASE)
    Deliver()(stage.app)
    ((job,),) = stage.chains()
    # One try is all there is, unless callback_retry_delays says more: an answer that was lost is a failure.
    lost = "a failpoint was struck" in (job.callback_error or "")
    assert (job.callback_state, job.callback_status) == (("failed", None) if lost else ("sent", 200))
    assert {request.id for request in stage.receiver.received} == {f"cb_{job.id}"}
    assert len(stage.receiver.received) in times


def lost_once(stage: Stage) -> None:
    assert [job.losses for job in stage.chains()[0]] == [1]


def left_no_message(stage: Stage) -> None:
    assert stage.messages() == 1  # the bystander's


STORIES: dict[str, Story] = {
    "enqueue": Story(
        points("enqueue", "send.begun", "send.sent"),
        ends=("success",),
        act=enqueue_once,
        again=lambda stage: stage.do(enqueue_once),
        sends_at_once=True,
    ),
    "enqueue many": Story(
        points("enqueue", "send.begun", "send.sent"),
        ends=("success",) * 3,
        names=THREE,
        act=enqueue_three,
        again=lambda stage: stage.do(enqueue_three),
        sends_at_once=True,
    ),
    "tick": Story(
        points("tick", "send.begun", "send.sent"),
        ends=("success",),
        prepare=due_schedule,
        act=lambda stage: Tick(),
        again=lambda stage: stage.do(lambda _: Tick()),
        sends_at_once=True,
    ),
    "adopt": Story(
        points("adopt"),
        ends=("success",),
        runs=range(1, 3),
        prepare=send_foreign,
        again=send_foreign,
    ),
    "succeed": Story(
        points("claim", "run.begun", "run.ended", "complete"),
        ends=("success",),
        runs=range(1, 3),
        prepare=enqueue("return"),
    ),
    "retry": Story(
        points("retry", "send.begun", "send.sent"),
        ends=("success",),
        runs=range(2, 4),
        prepare=enqueue("raise", "return"),
        heals_itself=False,  # what could not be sent is the promoter's
    ),
    "fail for good": Story(
        points("bury"),
        ends=("dead_lettered",),
        runs=range(1, 3),
        prepare=enqueue("raise", max_attempts=1),
    ),
    "give back": Story(
        points("release"),
        ends=("success",),
        runs=range(2, 4),
        prepare=enqueue("reject", "return"),
        heals_itself=False,  # nobody sends what was given back but the promoter
    ),
    "refuse": Story(
        points("refuse"),
        ends=("success",),
        prepare=enqueue("return"),
        in_pool=False,
        knows_work=False,
        heals_itself=False,
    ),
    "reap": Story(
        points("declare_dead", "lose", "take", "send.begun", "send.sent"),
        ends=("success",),
        prepare=claimed_by_the_dead,
        act=turn_of("reaper"),
        check=lost_once,
    ),
    "reap for good": Story(
        points("lose", "tell.told", "mark_told"),
        ends=("dead_lettered",),
        runs=range(1),
        prepare=lambda stage: claimed_by_the_dead(stage, losses=2),
        act=turn_of("reaper"),
    ),
    "promote": Story(
        points("take", "send.begun", "send.sent"),
        ends=("success",),
        prepare=held_until_now,
        act=turn_of("promoter"),
    ),
    "send again": Story(
        points("take"),
        ends=("success",),
        prepare=sent_and_lost,
        act=turn_of("redispatcher"),
    ),
    "expire": Story(
        points("expire", "tell.told", "mark_told"),
        ends=("cancelled",),
        runs=range(1),
        prepare=expired,
        act=turn_of("redispatcher"),
    ),
    "cancel": Story(
        points("cancel", "tell.told", "mark_told"),
        ends=("cancelled",),
        runs=range(1),
        prepare=enqueue("return"),
        act=cancel,
        again=cancel_again,
    ),
    "kill": Story(
        points("kill"),
        ends=("cancelled",),
        runs=range(1),
        prepare=cancelled_while_it_runs,
        act=kill,
    ),
    "replay": Story(
        points("replay", "send.begun", "send.sent"),
        ends=("dead_lettered", "success"),
        prepare=dead_letter,
        act=replay,
        again=replay_again,
        sends_at_once=True,
    ),
    "tell others": Story(
        points("callback.take", "callback.sent", "callback.mark"),
        ends=("success",),
        runs=range(1),
        prepare=owes_a_callback,
        act=deliver,
        check=lambda stage: told_others(stage, range(1, 3)),
    ),
    "tell others again": Story(
        points("callback.resend"),
        ends=("success",),
        runs=range(1),
        prepare=has_sent_its_callback,
        act=resend,
        again=lambda stage: stage.do(resend),
        check=lambda stage: told_others(stage, range(2, 4)),
    ),
    "sweep": Story(
        points("sweep"),
        ends=(),
        runs=range(1),
        prepare=old_dead_letter,
        act=turn_of("dead-letter-sweeper"),
        again=sweep_again,
        check=left_no_message,
    ),
}
