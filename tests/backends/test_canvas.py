"""Canvases on Celery's other result backends: a database, and the caller's own queue."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from tests.canvas.shop import Shop, open_shop
from tests.conftest import shared_broker
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("backends")

URLS = {"database": "db+sqlite:///{folder}/results.sqlite3", "rpc": "rpc://"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("backends")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=URLS)
def backend(request: pytest.FixtureRequest, valkey: str, sqlite_template: Path, folder: Path) -> Iterator[Shop]:
    kind = request.param
    url, file = URLS[kind].format(folder=folder), folder / f"{kind}.sqlite3"
    shutil.copyfile(sqlite_template, file)
    with open_shop(
        shared_broker(valkey, "sqlite"), f"sqlite:///{file}", task_default_queue=kind, result_backend=url
    ) as shop:
        yield shop


def test_chains_and_groups_give_their_values_where_members_fail_twice(backend: Shop) -> None:
    late, add = backend.task("works_on_attempt"), backend.task("add")
    results = [
        canvas.apply_async() for canvas in (chain(late.s(1), add.s(2), late.s()), group(late.s(1), add.s(1) | late.s()))
    ]
    assert [backend.value(result) for result in results] == [3, [1, 1]]


def test_a_member_that_is_dead_lettered_fails_its_chain_and_its_group(backend: Shop) -> None:
    fails, add = backend.task("fails"), backend.task("add")
    results = [canvas.apply_async() for canvas in (chain(fails.s(), add.s(1)), group(fails.s(), add.s(1)))]
    assert [backend.error(result) for result in results] == ["ValueError: it is broken"] * 2
    assert backend.jobs.get(results[0].parent.id).final_status == "dead_lettered"


def test_a_chord_works_on_a_database_and_rpc_refuses_it_as_ever(backend: Shop) -> None:
    late, total = backend.task("works_on_attempt"), backend.task("total")
    canvas = chord([late.s(1), late.s(2)], total.s())
    if backend.app.conf.result_backend == "rpc://":
        with pytest.raises(NotImplementedError, match='"rpc" result backend does not support chords'):
            canvas.apply_async()
        return
    before = backend.jobs.count()
    dead = chord([late.s(1), backend.task("fails").s()], total.s()).apply_async()
    assert backend.value(canvas.apply_async()) == 3
    wait_until(dead.ready, 30)
    assert backend.error(dead) == "ValueError: it is broken"
    assert isinstance(dead.result, ChordError)
    # The task that waits for the members is Celery's own: it asks each second, and is no job.
    assert backend.jobs.count() - before == 5
    assert not backend.jobs.count(task="celery.chord_unlock")


def test_who_waits_for_a_job_that_was_held_in_sql_hears_of_its_end(backend: Shop) -> None:
    """Its message goes out later, by another process, and still says where its caller listens."""
    result = backend.task("works_on_attempt").apply_async((7,), countdown=3600)
    assert result.state == "PENDING"
    backend.jobs.fire(result.id)
    assert backend.value(result) == 7
