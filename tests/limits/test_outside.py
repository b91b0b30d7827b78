"""Outside workers and limits: their claims are judged as those of workers are, and wake those of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.limits.conftest import overlap
from tests.store.conftest import race

if TYPE_CHECKING:
    from tests.limits.conftest import Floor

ANNE, BEN = "anne", "ben"


def _payloads(floor: Floor, number: int, queue: str = "pull", **options: object) -> list[str]:
    return [floor.jobs.enqueue_payload(queue, n, **options).id for n in range(number)]


def test_a_claim_takes_no_more_of_a_key_than_its_limit_and_all_of_others(floor: Floor) -> None:
    keyed = _payloads(floor, 5, concurrency_key="k", concurrency_limit=2)
    plain = _payloads(floor, 2)
    claimed = floor.jobs.claim("pull", ANNE, limit=10)
    assert [job.id for job in claimed] == [*keyed[:2], *plain]
    assert [floor.job(job_id).waits_for for job_id in keyed] == [None, None, "key:k", "key:k", "key:k"]
    assert floor.jobs.claim("pull", BEN, limit=10) == []
    floor.jobs.complete(keyed[0], ANNE)
    assert floor.job(keyed[2]).waits_for is None
    assert [job.id for job in floor.jobs.claim("pull", BEN, limit=10)] == [keyed[2]]
    floor.jobs.fail(keyed[2], BEN, "no paint")
    assert [job.id for job in floor.jobs.claim("pull", BEN, limit=10)] == [keyed[3]]


def test_a_key_is_shared_by_workers_and_outside_workers(floor: Floor) -> None:
    (pulled,) = _payloads(floor, 1, concurrency_key="k")
    floor.jobs.claim("pull", ANNE)
    (job_id,) = floor.enqueue(concurrency_key="k")
    floor.messages()
    floor.refuse(job_id)
    floor.jobs.complete(pulled, ANNE)
    assert floor.messages() == [job_id]
    running = floor.start(job_id)
    (pulled,) = _payloads(floor, 1, concurrency_key="k")
    assert floor.jobs.claim("pull", ANNE) == []
    floor.finish(running)
    assert [job.id for job in floor.jobs.claim("pull", ANNE)] == [pulled]


def test_a_queue_of_outside_workers_has_its_limit(floor: Floor) -> None:
    ids = _payloads(floor, 5, "narrow-pull")
    assert [job.id for job in floor.jobs.claim("narrow-pull", ANNE, limit=10)] == ids[:2]
    assert floor.jobs.claim("narrow-pull", BEN) == []
    floor.jobs.complete(ids[0], ANNE)
    assert [job.id for job in floor.jobs.claim("narrow-pull", BEN, limit=10)] == [ids[2]]


def test_a_queue_of_outside_workers_has_its_rate(floor: Floor) -> None:
    ids = _payloads(floor, 5, "slow-pull")
    for job_id in ids[:3]:
        (job,) = floor.jobs.claim("slow-pull", ANNE)
        assert job.id == job_id
        floor.jobs.complete(job_id, ANNE)
    assert floor.jobs.claim("slow-pull", ANNE) == []
    floor.later(61)
    assert [job.id for job in floor.jobs.claim("slow-pull", ANNE, limit=9)] == ids[3:]


def test_racing_claims_keep_the_limits(floor: Floor) -> None:
    ids = _payloads(floor, 30, concurrency_key="k", concurrency_limit=3) + _payloads(floor, 10)
    left = set(ids)
    for _ in range(60):
        claims = race(*[lambda: floor.jobs.claim("pull", ANNE, limit=4)] * 6)
        for job in [job for claimed in claims for job in claimed]:
            left.remove(job.id)
            floor.jobs.complete(job.id, ANNE)
        if not left:
            break
    assert left == set()
    assert overlap([floor.job(job_id) for job_id in ids[:30]]) <= 3
    assert overlap([floor.job(job_id) for job_id in ids]) > 3


def test_the_lease_of_a_lost_outside_worker_frees_its_place(floor: Floor) -> None:
    first, second = _payloads(floor, 2, concurrency_key="k", max_attempts=1)
    floor.jobs.claim("pull", ANNE, lease_duration=5)
    assert floor.jobs.claim("pull", BEN) == []
    floor.later(10)
    assert [job.id for job in floor.jobs.claim("pull", BEN, limit=2)] == [first]
    assert (floor.job(first).losses, floor.job(second).status) == (1, "pending")
