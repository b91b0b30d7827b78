"""What waits for a limit: it burns nothing, is sent once when its turn comes, and in the order of priority and age."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import failpoints
from celery_jobs.services import make_service
from celery_jobs.store import attempts, endings, limits, sends
from celery_jobs.store.limits import FRESH
from celery_jobs.store.rows import Claim
from celery_jobs.telling import tell
from tests.limits.conftest import ON_SQLITE
from tests.processes import wait_until
from tests.store.conftest import race, stored

if TYPE_CHECKING:
    from tests.limits.conftest import Floor

KEY: dict[str, Any] = {"concurrency_key": "customer", "concurrency_limit": 1}


def _waiting(floor: Floor, number: int, **options: Any) -> list[str]:
    """So many jobs, all of which have been claimed in vain; the broker is empty."""
    ids = floor.enqueue(number, **{**KEY, **options})
    assert set(floor.messages(options.get("queue", "celery"))) == set(ids)
    for job_id in ids:
        floor.refuse(job_id)
    return ids


def test_a_job_over_the_limit_waits_unsent_and_burns_nothing(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    (waiting,) = _waiting(floor, 1)
    job = floor.job(waiting)
    assert (job.status, job.waits_for, job.sent_at, job.send_count) == ("pending", "key:customer", None, 0)
    assert (job.attempt_number, job.losses, job.started_at) == (1, 0, None)
    for _ in range(3):  # nobody sends it in vain, however often they look
        assert make_service(floor.plugin, "promoter").run_once() == 0
    assert floor.messages() == []
    floor.finish(running)
    assert floor.messages() == [waiting]
    job = floor.job(waiting)
    assert (job.waits_for, job.send_count, job.sent_at is None) == ("key:customer", 1, False)
    started = floor.start(waiting)
    job = floor.job(waiting)
    assert (job.waits_for, job.attempt_number, job.losses) == (None, 1, 0)
    floor.finish(started)


def test_one_that_is_replaced_while_it_waits_asks_for_its_place_anew(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    draft: dict[str, Any] = {"idempotency_key": "draft", "on_conflict": "replace"}
    (waiting,) = _waiting(floor, 1, **draft)
    assert floor.enqueue(args=(2,), **KEY, **draft) == [waiting]
    assert floor.messages() == [waiting]
    reasons = [getattr(floor.claim(waiting, edition), "reason", "won") for edition in (0, 1)]
    assert reasons == ["replaced", "waiting"]
    assert floor.messages() == []
    floor.finish(running)
    assert floor.messages() == [waiting]
    started = floor.claim(waiting, edition=1)
    assert isinstance(started, Claim)
    floor.finish(started)


def test_the_waiting_start_by_priority_and_then_by_age(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    priorities = [0, 5, 0, 9, 5, -3, 9, 0, 1, 0]
    waiting = [_waiting(floor, 1, job_priority=priority)[0] for priority in priorities]
    in_order = sorted(zip(waiting, priorities, strict=True), key=lambda found: (-found[1], waiting.index(found[0])))
    started = []
    for _ in waiting:
        floor.finish(running)
        (job_id,) = floor.messages()
        running = floor.start(job_id)
        started.append(job_id)
    floor.finish(running)
    assert started == [job_id for job_id, _ in in_order]


def test_a_new_job_does_not_pass_those_that_wait(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    first, second = _waiting(floor, 2)
    floor.finish(running)
    (late,) = floor.enqueue(**KEY)
    assert floor.messages() == [first, late]
    # The newer one overtakes it on its way.
    floor.refuse(late)
    floor.finish(floor.start(first))
    assert floor.messages() == [second]
    (urgent,) = floor.enqueue(**KEY, job_priority=9)
    floor.finish(floor.start(urgent))  # of a higher priority: before those whose turn has come
    floor.finish(floor.start(second))
    floor.finish(floor.start(late))


def test_a_place_is_kept_for_a_moment_only(floor: Floor) -> None:
    """The message of whose turn it is may lie in a busy worker: others may start meanwhile."""
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    (turn,) = _waiting(floor, 1)
    floor.finish(running)
    (late,) = floor.enqueue(**KEY)
    floor.refuse(late)
    floor.later(FRESH + 1)
    passing = floor.start(late)
    floor.refuse(turn)
    floor.messages()
    floor.finish(passing)
    assert floor.messages() == [turn]


def test_each_job_is_held_to_its_own_limit(floor: Floor) -> None:
    """The limit of 3 lets a third one run beside two, the limit of 1 lets none run beside any."""
    one, two, three = [floor.enqueue(concurrency_key="k", concurrency_limit=limit)[0] for limit in (1, 2, 3)]
    first, second, third = floor.start(one), floor.start(two), floor.start(three)
    floor.messages()
    narrow = floor.enqueue(concurrency_key="k")[0]  # without a limit: 1
    wide = floor.enqueue(concurrency_key="k", concurrency_limit=3)[0]
    floor.messages()
    floor.refuse(narrow)
    floor.refuse(wide)
    floor.finish(third)
    assert floor.messages() == [wide]  # the older one would not be alone
    fourth = floor.start(wide)
    for running in (first, second):
        floor.finish(running)
        assert floor.messages() == []
    floor.finish(fourth)
    assert floor.messages() == [narrow]


def test_a_queue_holds_its_jobs_whichever_queue_their_messages_come_through(floor: Floor) -> None:
    ids = floor.enqueue(3, queue="narrow")
    first, _ = floor.start(ids[0]), floor.start(ids[1])
    floor.refuse(ids[2])
    assert floor.job(ids[2]).waits_for == "queue:narrow"
    free = floor.enqueue()  # of another queue
    floor.finish(floor.start(free[0]))
    floor.messages("narrow")
    floor.finish(first)
    assert floor.messages("narrow") == [ids[2]]


def test_both_limits_hold_and_ten_thousand_of_a_key_do_not_stand_before_others(floor: Floor) -> None:
    """A key's jobs wait for their key, not for the queue: else all of them would be asked before the next one."""
    other = [
        floor.start(job_id) for job_id in floor.enqueue(2, queue="narrow", concurrency_key="b", concurrency_limit=9)
    ]
    crowd = floor.enqueue(4, queue="narrow", concurrency_key="a")
    floor.messages("narrow")
    for job_id in crowd:
        floor.refuse(job_id)
    assert [floor.job(job_id).waits_for for job_id in crowd] == ["queue:narrow", *["key:a"] * 3]
    (plain,) = floor.enqueue(queue="narrow")
    floor.messages("narrow")
    floor.refuse(plain)
    for running in other:
        floor.finish(running)
    assert floor.messages("narrow") == [crowd[0], plain]
    first, second = floor.start(crowd[0]), floor.start(plain)
    floor.finish(second)
    assert floor.messages("narrow") == []  # what is left of the queue waits for the key
    floor.finish(first)
    assert floor.messages("narrow") == [crowd[1]]


def test_a_key_of_several_queues_is_not_held_up_by_one_that_is_full(floor: Floor) -> None:
    busy = [floor.start(job_id) for job_id in floor.enqueue(2, queue="narrow")]
    (held,) = floor.enqueue(queue="narrow", concurrency_key="a")
    floor.refuse(held)
    assert floor.job(held).waits_for == "queue:narrow"
    (elsewhere,) = floor.enqueue(concurrency_key="a")
    running = floor.start(elsewhere)
    floor.messages("narrow")
    floor.finish(busy[0])
    assert floor.messages("narrow") == [held]
    floor.refuse(held)
    assert floor.job(held).waits_for == "key:a"
    floor.finish(running)
    assert floor.messages("narrow") == [held]
    floor.finish(floor.start(held))


def test_who_finds_no_place_is_seen_by_who_frees_it(floor: Floor) -> None:
    """Both at the same moment: either sees the other, or the promoter alone would start the job."""
    for _ in range(25):
        ids = floor.enqueue(2, **KEY)
        running = floor.start(ids[0])
        floor.messages()
        claimed: Any = race(partial(floor.claim, ids[1]), partial(floor.finish, running))[0]
        if not isinstance(claimed, Claim):
            assert floor.messages() == [ids[1]]
            claimed = floor.start(ids[1])
        floor.finish(claimed)


@pytest.mark.parametrize(("queue", "options"), [("celery", KEY), ("narrow", {"queue": "narrow"})], ids=["key", "queue"])
def test_a_lost_wake_is_found_by_the_promoter(floor: Floor, queue: str, options: dict[str, Any]) -> None:
    """Whoever ended the jobs died before it had sent the next."""
    held = [floor.start(job_id) for job_id in floor.enqueue(1 if queue == "celery" else 2, **options)]
    (waiting,) = floor.enqueue(**options)
    floor.refuse(waiting)
    floor.messages(queue)
    for running in held:
        attempts.complete(floor.plugin.db, running, None, 1)
    assert make_service(floor.plugin, "promoter").tick() == 1
    assert floor.messages(queue) == [waiting]
    floor.finish(floor.start(waiting))


def test_a_wake_with_the_broker_down_leaves_it_waiting_for_the_promoter(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    (waiting,) = _waiting(floor, 1)
    floor.app.conf.broker_url = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(floor.app, "_pool", None)
    floor.app.amqp._producer_pool = None
    floor.finish(running)
    job = floor.job(waiting)
    assert (job.sent_at, job.send_count, job.waits_for) == (None, 0, "key:customer")


@pytest.mark.parametrize("how", ["lose", "release", "cancel"])
def test_a_place_is_free_however_its_job_leaves_it(floor: Floor, how: str) -> None:
    running = floor.start(floor.enqueue(**KEY, max_attempts=1)[0])
    floor.messages()
    (waiting,) = _waiting(floor, 1)
    if how == "lose":
        assert endings.lose(floor.plugin.db, running.id, 3, lease_token=running.lease_token) is True
    elif how == "release":
        assert endings.release(floor.plugin.db, running.id, running.lease_token) is True
    else:
        floor.jobs.cancel(running.id)
        endings.kill(floor.plugin.db, running.id, running.lease_token)
        tell(floor.plugin, running.original_id)
    floor.start(waiting)


def test_the_promoter_sends_a_turn_once_and_not_before_its_place_is_free(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    waiting = _waiting(floor, 3)
    limit = limits.Limit("key:customer", None)
    assert limits.wake(floor.plugin.db, limit, 75) == []
    attempts.complete(floor.plugin.db, running, None, 1)
    sent = race(*[lambda: limits.wake(floor.plugin.db, limit, 75)] * 4)
    assert [job.job_id for jobs in sent for job in jobs] == waiting[:1]


@ON_SQLITE
class TestVerbs:
    """What can be done to a job that waits."""

    def _scene(self, floor: Floor) -> tuple[Any, str, str]:
        running = floor.start(floor.enqueue(**KEY)[0])
        floor.messages()
        first, second = _waiting(floor, 2)
        return running, first, second

    def test_cancelling_one_whose_turn_has_come_lets_the_next_start(self, floor: Floor) -> None:
        running, first, second = self._scene(floor)
        floor.finish(running)
        assert floor.messages() == [first]
        floor.jobs.cancel(first)
        assert floor.messages() == [second]
        floor.finish(floor.start(second))

    def test_one_that_is_deleted_while_it_waits_is_passed_over(self, floor: Floor) -> None:
        running, first, second = self._scene(floor)
        floor.jobs.delete(first)
        floor.finish(running)
        assert floor.messages() == [second]

    def test_one_that_expires_while_it_waits_is_passed_over(self, floor: Floor) -> None:
        running = floor.start(floor.enqueue(**KEY)[0])
        floor.messages()
        first, second = *_waiting(floor, 1, expires=60), *_waiting(floor, 1)
        floor.later(120)
        floor.finish(running)
        assert floor.messages() == [second]
        make_service(floor.plugin, "redispatcher").run_once()
        assert floor.run(first).final_status == "cancelled"

    def test_firing_one_that_waits_does_not_send_it_past_its_turn(self, floor: Floor) -> None:
        running, first, second = self._scene(floor)
        floor.jobs.fire(second)
        assert floor.messages() == []
        floor.finish(running)
        assert floor.messages() == [first]

    def test_a_paused_queue_takes_no_turn_and_a_resumed_one_does(self, floor: Floor) -> None:
        running, first, _ = self._scene(floor)
        (elsewhere,) = floor.enqueue(queue="pausable", **KEY)
        floor.messages("pausable")
        floor.refuse(elsewhere)
        floor.jobs.pause("celery")
        floor.finish(running)
        assert (floor.messages(), floor.messages("pausable")) == ([], [elsewhere])
        floor.finish(floor.start(elsewhere))
        assert floor.jobs.resume("celery") == 1
        assert floor.messages() == [first]

    def test_a_pause_that_meets_a_turn_gives_it_on(self, floor: Floor) -> None:
        running, first, _ = self._scene(floor)
        (elsewhere,) = floor.enqueue(queue="pausable", **KEY)
        floor.messages("pausable")
        floor.refuse(elsewhere)
        floor.finish(running)
        floor.jobs.pause("celery")
        assert floor._claim_in_time(first) is None
        assert floor.job(first).waits_for is None
        assert floor.messages("pausable") == [elsewhere]
        floor.finish(floor.start(elsewhere))
        floor.messages()
        floor.jobs.resume("celery")
        assert first in floor.messages()

    def test_retries_and_replays_keep_the_key_and_wait_like_others(self, floor: Floor) -> None:
        from tests.store.conftest import FAILURE, retry

        running = floor.start(floor.enqueue(**KEY)[0])
        following = retry(floor.plugin.db, running)
        beside = floor.start(floor.enqueue(**KEY)[0])
        floor.refuse(following.job_id)
        floor.finish(beside)
        from celery_jobs.store import chains

        last = floor.start(following.job_id)
        chains.bury(floor.plugin.db, last, FAILURE)
        beside = floor.start(floor.enqueue(**KEY)[0])
        replayed = floor.jobs.replay(running.id)
        floor.refuse(replayed.id)
        assert stored(floor.plugin.db, replayed.id).waits_for == "key:customer"
        floor.finish(beside)

    def test_what_waits_is_shown(self, floor: Floor) -> None:
        _, first, _ = self._scene(floor)
        run = floor.run(first)
        assert (run.waits_for, run.to_json()["waits_for"]) == ("key:customer", "key:customer")
        assert run.to_json()["attempts"][0]["waits_for"] == "key:customer"

    def test_a_limit_that_was_taken_out_of_the_settings_holds_nobody(self, floor: Floor) -> None:
        for job_id in floor.enqueue(2, queue="narrow"):
            floor.start(job_id)
        (waiting,) = floor.enqueue(queue="narrow")
        floor.refuse(waiting)
        floor.messages("narrow")
        floor.plugin.settings.queues.pop("narrow")  # type: ignore[attr-defined]
        assert make_service(floor.plugin, "promoter").run_once() == 1
        assert floor.messages("narrow") == [waiting]
        assert floor.start(waiting)

    def test_a_job_without_limits_asks_nothing(self, floor: Floor) -> None:
        (plain,) = floor.enqueue()
        assert sends.take_now(floor.plugin.db, [plain]) == []
        floor.finish(floor.start(plain))
        with floor.plugin.db.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM places").scalar_one() == 0


def test_a_woken_message_that_is_lost_is_sent_again_by_the_redispatcher(floor: Floor) -> None:
    running = floor.start(floor.enqueue(**KEY)[0])
    floor.messages()
    (waiting,) = _waiting(floor, 1)
    floor.finish(running)
    assert floor.messages() == [waiting]
    floor.later(300)
    overdue = sends.take_overdue(floor.plugin.db, "celery", 120, 20, 10)
    assert [job.job_id for job in overdue] == [waiting]
    wait_until(lambda: floor.start(waiting))


def test_claims_that_do_not_wait_for_the_disk_are_judged_alike(floor: Floor) -> None:
    floor.plugin.settings = replace(floor.plugin.settings, async_claims=True)
    ids = floor.enqueue(2, **KEY)
    running = floor.start(ids[0])
    floor.refuse(ids[1])
    floor.finish(running)
    floor.finish(floor.start(ids[1]))


def test_a_repetition_after_a_lost_reply_finds_its_own_claim(floor: Floor) -> None:
    """The commit was made, its answer was lost: neither a second place nor a second start is taken."""
    (job_id,) = floor.enqueue(queue="both", **KEY)
    with failpoints.striking("claim.committed", "lose"):
        claimed = floor.start(job_id)
    with floor.plugin.db.reading() as connection:
        found = [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in ("places", "starts")]
    assert found == [2, 1]
    floor.finish(claimed)
