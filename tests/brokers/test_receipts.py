"""What a worker of processes tells Redis of its jobs' messages: once a turn of its event loop, and all of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.concurrency import get_implementation
from celery.contrib.testing.worker import start_worker
from kombu import Connection, Queue
from kombu.asynchronous import Hub
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from celery_jobs.demo.valkey import start_valkey
from celery_jobs.envelope import JOB_HEADER
from celery_jobs.ids import new_id
from celery_jobs.kept_client import keep_client
from celery_jobs.plugin import plugin_of
from celery_jobs.store import invariants
from celery_jobs.worker.receipts import Receipts, gather_receipts
from tests.apps import be_quiet, make_app, working
from tests.pools.conftest import GREEN, importing
from tests.processes import SOURCE, Worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

QUEUE = "till"
TILL = "tests.brokers.till"
SEVERAL = 20

PREFETCHING = ("--prefetch-multiplier", "8")


class Hall:
    """Stands in for an event loop: turns end when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def end_turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Till:
    """A channel whose notes are gathered, and who looks at what Redis knows of it."""

    def __init__(self, url: str, prefix: str = "") -> None:
        options = {"global_keyprefix": prefix} if prefix else {}
        self.prefix = prefix
        self.connection = Connection(url, transport_options=options)
        self.channel: Any = self.connection.channel()
        self.redis: Any = Redis.from_url(url)
        self.hall = Hall()
        keep_client(self.channel)
        self.receipts = Receipts(self.channel, self.hall)
        Queue(QUEUE)(self.channel).declare()

    def send(self, count: int = 1, job: bool = True) -> None:
        producer = self.connection.Producer(self.channel)
        for _ in range(count):
            producer.publish({}, routing_key=QUEUE, headers={JOB_HEADER: new_id()} if job else {})

    def fetch(self, count: int = 1, job: bool = True) -> list[Any]:
        """Messages as a consumer gets them, sent before."""
        self.send(count, job)
        return [self.channel.basic_get(QUEUE) for _ in range(count)]

    @property
    def noted(self) -> int:
        """Messages that Redis knows to be fetched."""
        noted = self.redis.hlen(f"{self.prefix}unacked")
        assert self.redis.zcard(f"{self.prefix}unacked_index") == noted
        return int(noted)

    @property
    def queued(self) -> int:
        return int(self.redis.llen(f"{self.prefix}{QUEUE}"))

    @property
    def told(self) -> int:
        """How many times Redis was told something, of all channels."""
        return int(self.redis.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"])

    def close(self) -> None:
        self.connection.close()
        self.redis.close()


@contextmanager
def opened(url: str, prefix: str = "") -> Iterator[Till]:
    till = Till(url, prefix)
    try:
        yield till
    finally:
        till.close()


@pytest.fixture(params=["", "shop:"], ids=["plain keys", "a prefix"])
def till(request: pytest.FixtureRequest, broker_url: str) -> Iterator[Till]:
    with opened(broker_url, request.param) as till:
        yield till


def test_a_jobs_message_is_noted_once_the_turn_is_over(till: Till) -> None:
    (message,) = till.fetch()
    assert till.noted == 0
    till.hall.end_turn()
    assert till.noted == 1
    message.ack()
    assert till.noted == 1
    till.hall.end_turn()
    assert till.noted == 0
    assert till.queued == 0


def test_all_of_a_turn_is_told_in_one_go(till: Till) -> None:
    first = till.fetch(SEVERAL)
    till.hall.end_turn()
    before = till.told
    more = till.fetch(SEVERAL)
    for message in first:
        message.ack()
    for message in more[:3]:
        message.reject()
    assert till.told == before
    assert len(till.hall.due) == 1
    till.hall.end_turn()
    assert (till.told, till.noted) == (before + 1, SEVERAL - 3)
    till.hall.end_turn()
    assert till.told == before + 1


def test_of_what_is_no_job_it_is_told_at_once(till: Till) -> None:
    acknowledged, rejected = till.fetch(2, job=False)
    assert till.noted == 2
    acknowledged.ack()
    assert till.noted == 1
    rejected.reject()
    assert till.noted == 0
    before = till.told
    till.hall.end_turn()
    assert till.told == before


def test_what_is_no_job_takes_along_what_is_gathered(till: Till) -> None:
    (job,) = till.fetch()
    (message,) = till.fetch(job=False)
    assert till.noted == 2
    job.ack()
    message.ack()
    assert till.noted == 0


def test_a_message_without_headers_is_no_job(till: Till) -> None:
    till.send(job=False)
    raw = till.channel._get(QUEUE)
    raw["headers"] = None
    message = till.channel.Message(raw, channel=till.channel)
    till.channel.qos.append(message, message.delivery_tag)
    assert till.noted == 1


def test_one_that_was_not_told_yet_goes_back_to_its_queue(till: Till) -> None:
    (message,) = till.fetch()
    message.requeue()
    assert (till.noted, till.queued) == (0, 1)
    again = till.channel.basic_get(QUEUE)
    assert again.headers[JOB_HEADER] == message.headers[JOB_HEADER]
    till.channel.qos.restore_by_tag(again.delivery_tag)
    assert (till.noted, till.queued) == (0, 1)
    till.hall.end_turn()
    assert (till.noted, till.queued) == (0, 1)


def test_what_others_left_is_brought_back_as_before(till: Till) -> None:
    till.fetch(2)
    till.channel.qos.__dict__["visibility_timeout"] = -1
    till.hall.end_turn()
    till.channel.qos.restore_visible()
    assert (till.noted, till.queued) == (0, 2)


@pytest.mark.parametrize("is_told", [False, True])
def test_a_channel_that_closes_tells_all_and_gives_back_the_rest(till: Till, is_told: bool) -> None:
    messages = till.fetch(5)
    if is_told:
        till.hall.end_turn()
    for message in messages[:3]:
        message.ack()
    till.channel.close()
    assert (till.noted, till.queued) == (0, 2)
    till.hall.end_turn()
    assert (till.noted, till.queued) == (0, 2)


def test_a_channel_that_closes_with_nothing_to_give_back_tells_all_too(till: Till) -> None:
    (message,) = till.fetch()
    till.hall.end_turn()
    message.ack()
    till.channel.close()
    assert (till.noted, till.queued) == (0, 0)


def test_a_channel_closes_without_its_server(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server, opened(server.url) as till:
        (message,) = till.fetch()
        till.hall.end_turn()
        message.ack()
        server.stop()
        till.channel.close()


def test_a_connection_that_is_lost_is_replaced_and_nothing_of_the_turn_is_lost(broker_url: str) -> None:
    """As the client of Redis does it by itself, of whatever is told twice without harm."""
    with opened(broker_url) as till:
        (first,) = till.fetch()
        till.hall.end_turn()
        till.fetch(2)
        first.ack()
        for client in till.redis.client_list():
            if client["id"] != str(till.redis.client_id()):
                till.redis.client_kill_filter(_id=client["id"])
        till.hall.end_turn()
        assert till.noted == 2


def test_a_server_that_is_away_is_raised_once_and_the_next_turn_is_well(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server, opened(server.url) as till:
        till.fetch(3)
        server.stop()
        with pytest.raises(RedisConnectionError):
            till.hall.end_turn()
        server.restart()
        till.hall.end_turn()
        assert (till.noted, till.queued) == (0, 0)
        (message,) = till.fetch()
        till.hall.end_turn()
        assert till.noted == 1
        message.ack()
        till.hall.end_turn()
        assert till.noted == 0


def test_what_redis_refuses_is_told_and_the_next_turn_is_well(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server, opened(server.url) as till:
        till.send()
        message = till.channel.basic_get(QUEUE)
        till.redis.config_set("maxmemory", 1)
        with pytest.raises(ResponseError, match="used memory"):
            till.hall.end_turn()
        till.redis.config_set("maxmemory", 0)
        message.ack()
        till.fetch()
        till.hall.end_turn()
        assert till.noted == 1


def test_another_thread_tells_at_once_and_only_its_own(broker_url: str) -> None:
    with opened(broker_url) as till, ThreadPoolExecutor(1) as thread:
        till.fetch()  # gathered here, where more may be written to it at this moment
        (job,) = thread.submit(till.fetch).result(20)
        assert till.noted == 1
        thread.submit(job.ack).result(20)
        assert till.noted == 0
        (message,) = thread.submit(partial(till.fetch, job=False)).result(20)
        assert till.noted == 1
        thread.submit(message.ack).result(20)
        assert till.noted == 0
        till.hall.end_turn()
        assert till.noted == 1


def test_a_real_event_loop_ends_the_turn_and_hears_of_what_goes_wrong(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server, opened(server.url) as till:
        hub = till.receipts._hub = Hub()
        till.fetch()
        hub.run_once()
        assert till.noted == 1
        till.fetch()
        server.stop()
        with pytest.raises(RedisConnectionError):
            hub.run_once()
        hub.close()


def consumer(channel: Any, hub: Any = True, pool: str = "prefork") -> Any:
    """What a worker's consumer shows of itself."""
    importing(pool) if pool in GREEN else None
    pools = SimpleNamespace(uses_semaphore=get_implementation(pool).uses_semaphore)
    return SimpleNamespace(task_consumer=SimpleNamespace(channel=channel), hub=hub, pool=pools)


def gathers(channel: Any) -> bool:
    return "append" in vars(channel.qos)


def test_only_redis_and_only_processes_in_an_event_loop(broker_url: str) -> None:
    with Connection(broker_url) as redis, Connection("memory://") as memory:
        kept: Any = redis.channel()
        for pool in ("solo", "threads"):
            gather_receipts(consumer(kept, pool=pool))
        gather_receipts(consumer(kept, hub=None))
        assert not gathers(kept)
        other: Any = memory.channel()
        gather_receipts(consumer(other))
        gather_receipts(consumer(SimpleNamespace()))  # of RabbitMQ, which has nothing of the kind
        assert not gathers(other)
        gather_receipts(consumer(kept, hub=Hall()))
        assert gathers(kept)


@pytest.fixture
def app(broker_url: str, new_sqlite_database: Callable[[], str]) -> Iterator[Celery]:
    app = make_app(broker_url, new_sqlite_database())

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    plugin_of(app).db.dispose()
    be_quiet(app)
    app.close()


def test_a_worker_of_one_process_or_of_threads_tells_at_once(app: Celery) -> None:
    for started in (
        working(app),
        start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=20),
    ):
        with started as worker:
            assert app.tasks["add"].delay(3, 4).get(timeout=40) == 7
            assert not gathers(worker.consumer.task_consumer.channel)


class Shop:
    """Workers of tests/brokers/till.py, their caller, and what was noted of each name."""

    def __init__(self, broker_url: str, database_url: str, folder: Path) -> None:
        self.broker_url, self.database_url, self.folder = broker_url, database_url, folder
        self.app = make_app(broker_url, database_url)
        self.plain = make_app(broker_url, database_url, install=False)
        self.notes = folder / "notes"
        self.notes.touch()
        self.redis: Any = Redis.from_url(broker_url)

    def worker(self, pool: str = "prefork") -> Worker:
        env = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]), "TILL_SAYS": str(self.folder / "says")}
        urls = {"broker_url": self.broker_url, "database_url": self.database_url}
        return Worker(TILL, self.folder, *PREFETCHING, concurrency=2, pool=pool, env=env, **urls)

    def gathers(self) -> str:
        """What the worker says of itself."""
        file = self.folder / "says"
        return wait_until(lambda: file.exists() and file.read_text())

    def sell(self, task: str, count: int) -> list[str]:
        """Enqueue jobs; what they will note."""
        return self._send(self.app, task, count)

    def greet(self, count: int) -> list[str]:
        """Send tasks that are no jobs."""
        return self._send(self.plain, "greet", count)

    def _send(self, app: Celery, task: str, count: int) -> list[str]:
        names = [f"{task}-{number}" for number in range(count)]
        for name in names:
            app.send_task(f"{TILL}.{task}", [str(self.notes), name], ignore_result=True)
        return names

    @property
    def ran(self) -> list[str]:
        return self.notes.read_text().split()

    @property
    def fetched(self) -> int:
        """Messages that are noted as fetched."""
        return int(self.redis.hlen("unacked") + self.redis.zcard("unacked_index"))

    @property
    def queued(self) -> int:
        """Messages that wait, of all priorities."""
        return sum(int(self.redis.llen(key)) for key in ["celery", *self.redis.keys("celery\x06*")])

    @property
    def told(self) -> int:
        return int(self.redis.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"])

    def close(self) -> None:
        assert invariants.check(plugin_of(self.app).db) == []
        plugin_of(self.app).db.dispose()
        self.redis.close()
        for app in (self.app, self.plain):
            be_quiet(app)
            app.close()


@pytest.fixture
def shop(broker_url: str, new_sqlite_database: Callable[[], str], tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(broker_url, new_sqlite_database(), tmp_path)
    yield shop
    shop.close()


@pytest.mark.slow
def test_a_backlog_of_jobs_and_plain_tasks_is_run_once_each_and_nothing_is_left(shop: Shop) -> None:
    jobs, tasks = shop.sell("sell", 200), shop.greet(50)
    jobs += shop.sell("pack", 10)
    before = shop.told
    with shop.worker().wait_ready() as worker:
        assert shop.gathers() == "True"
        wait_until(lambda: len(shop.ran) >= len(jobs) + len(tasks), 40, process=worker)
        wait_until(lambda: shop.fetched + shop.queued == 0, process=worker)
        told = shop.told - before
    assert sorted(shop.ran) == sorted(jobs + tasks)
    assert shop.fetched == 0
    assert told < 2 * len(shop.ran)  # kombu's own: once as it is fetched, once as it is acknowledged


@pytest.mark.slow
@pytest.mark.matrix
def test_a_worker_that_is_shut_down_in_the_middle_leaves_the_rest_to_the_next(shop: Shop) -> None:
    jobs, tasks = shop.sell("pack", 120), shop.greet(30)
    names = jobs + tasks
    with shop.worker().wait_ready() as worker:
        wait_until(lambda: len(shop.ran) >= SEVERAL, 40, process=worker)
        assert worker.stop() == 0
    done = shop.ran
    assert SEVERAL <= len(done) < len(names)
    assert shop.fetched == 0
    # Celery's pool may forget one of a child's that it ends: its message comes again, and is dropped if it is a job's.
    assert len(names) - len(done) <= shop.queued <= len(names) - len(done) + 2
    with shop.worker().wait_ready() as worker:
        wait_until(lambda: set(shop.ran) == set(names), 40, process=worker)
        wait_until(lambda: shop.fetched + shop.queued == 0, process=worker)
        assert worker.stop() == 0
    assert sorted(set(shop.ran)) == sorted(names)
    assert sorted(name for name in shop.ran if name in jobs) == sorted(jobs)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("pool", ["gevent", "eventlet", "threads", "solo"])
def test_a_worker_of_another_pool_tells_at_once(shop: Shop, pool: str) -> None:
    if pool in GREEN:
        importing(pool)
    names = shop.sell("sell", 20) + shop.greet(5)
    with shop.worker(pool).wait_ready() as worker:
        assert shop.gathers() == "False"
        wait_until(lambda: len(shop.ran) >= len(names), 40, process=worker)
        wait_until(lambda: shop.fetched + shop.queued == 0, process=worker)
        worker.stop()
    assert sorted(shop.ran) == sorted(names)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.xdist_group("rabbitmq")
def test_of_rabbitmq_nothing_is_gathered(rabbitmq: str, new_sqlite_database: Callable[[], str], tmp_path: Path) -> None:
    env = {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)]), "TILL_SAYS": str(tmp_path / "says")}
    with Worker(
        TILL, tmp_path, broker_url=rabbitmq, result_backend="rpc://", database_url=new_sqlite_database(), env=env
    ) as worker:
        worker.wait_ready()
        assert wait_until(lambda: (tmp_path / "says").exists() and (tmp_path / "says").read_text()) == "False"
