"""Every point, every kind of fault, both databases: whatever is struck, each job ends once and nothing is lost."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import failpoints
from tests.failpoints.actors import Actor, perform, serve
from tests.failpoints.stories import STORIES
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.failpoints.stage import Stage
    from tests.failpoints.stories import Story

pytestmark = pytest.mark.slow

HOURS = 3
"""That may pass after a strike; a job that a worker refused in one of them runs in the next."""
EXIT_CODES = {"kill": -9, "exit": 1}

DATABASES = ("postgresql", "sqlite")


def cases() -> Iterator[Any]:
    """A kill at every point on both databases; each other fault on one of them, in turn, unless all are asked for."""
    points = [(name, point) for name, story in STORIES.items() for point in story.points]
    for kind, database in product(failpoints.KINDS, DATABASES):
        for number, (name, point) in enumerate(points):
            its_turn = DATABASES[number % 2] == database
            marks = _of_a_kill(point, database) if kind == "kill" else MATRIX if its_turn else WHOLE_MATRIX
            yield pytest.param(name, point, kind, database, id=f"{name}-{point}-{kind}-{database}", marks=marks)


MATRIX, WHOLE_MATRIX = pytest.mark.matrix, pytest.mark.whole_matrix


def _of_a_kill(point: str, database: str) -> Any:
    """Plain pytest kills on the database of production, and once of the two times before a commit, which are alike."""
    return MATRIX if database == "sqlite" or point.endswith(".begun") else ()


@pytest.mark.parametrize(("name", "point", "kind", "database_url"), list(cases()), indirect=["database_url"])
def test_each_job_ends_once_wherever_it_is_struck(stage: Stage, name: str, point: str, kind: str) -> None:
    story = STORIES[name]
    story.prepare(stage)
    play = play_worker if story.act is None else play_act
    play(stage, story, point, kind)
    story.check(stage)
    stage.verify(story.ends, story.names, story.runs)


def play_act(stage: Stage, story: Story, point: str, kind: str) -> None:
    """A process that does one thing is struck; who is not answered tries again, and a worker does the rest."""
    assert story.act is not None
    with Actor("struck", stage.place, perform, "struck", story.act(stage), fault=f"{point}:{kind}") as struck:
        struck.wait_struck()
        stage.bystand()
        assert struck.wait_ended() == EXIT_CODES.get(kind, 0)
        if kind in EXIT_CODES:
            story.again(stage)
        else:
            assert struck.outcome() is not None
            assert not story.sends_at_once or "send." in point or stage.waiting() == len(story.names) + 1
    take_over(stage, story)


def play_worker(stage: Stage, story: Story, point: str, kind: str) -> None:
    """A worker is struck; it goes on alone where it can, else another one takes over, also beside one that wakes."""
    in_child = kind == "exit" and story.in_pool
    pool = "prefork" if in_child else "solo"
    with Actor("struck", stage.place, serve, pool, story.knows_work, fault=f"{point}:{kind}") as struck:
        struck.wait_struck()
        stage.bystand()
        if kind in EXIT_CODES:
            story.again(stage)
        if in_child or (kind == "lose" and story.knows_work):
            go_on(stage, story, struck)
            return
        if kind not in EXIT_CODES:
            struck.ask_to_stop()
        take_over(stage, story)
        assert struck.wait_ended() == EXIT_CODES.get(kind, 0)


def go_on(stage: Stage, story: Story, struck: Actor) -> None:
    """The struck worker brings everything to an end."""
    if not story.heals_itself:
        bring_to_an_end(stage, story, struck)
    wait_until(lambda: stage.drained(len(story.ends)), message=lambda: stage.picture() + struck.tail())
    assert struck.stop() == 0


def take_over(stage: Stage, story: Story) -> None:
    """Another worker comes."""
    with Actor("fresh", stage.place, serve, "solo", True) as fresh:
        bring_to_an_end(stage, story, fresh)
        if any(point.startswith("callback.") for point in story.points):
            assert fresh.stop() == 0  # killed with an answer on its way, it would leave the callback to be sent again


def bring_to_an_end(stage: Stage, story: Story, worker: Actor) -> None:
    """Hours pass, each time every service has its turn, and a worker runs what is there."""
    for _ in range(HOURS):
        stage.pass_time(living=worker.pid)
        with suppress(AssertionError):
            wait_until(lambda: stage.drained(len(story.ends)), timeout=5)
            return
    raise AssertionError(stage.picture() + worker.tail())
