"""The broker's container is killed and restarted, empty or with its data: what waits runs, and each job once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_celery import RedisContainer

    from tests.containers.stories import Story

pytestmark = pytest.mark.slow

WAITING = [f"parcel {number}" for number in range(6)]

ONCE = ("completed", "success", 0, 1)


def test_what_waited_in_a_killed_broker_is_sent_again_and_runs_once(story: Story) -> None:
    story.enqueue("hold", "first")
    story.await_runs("first", 1)
    for name in WAITING:
        story.enqueue("note", name)
    story.broker.kill()
    story.broker.restart()
    assert story.broker_is_empty()
    story.let_go("first")
    story.await_completed("first", *WAITING)
    assert {story.outcome(name) for name in ("first", *WAITING)} == {ONCE}


class TestABrokerThatKeepsItsData:
    @pytest.fixture
    def default_redis_broker_command(self, default_redis_broker_cls: type[RedisContainer]) -> list[str]:
        command: list[str] = default_redis_broker_cls.command("--appendonly", "yes")
        return command

    def test_its_restart_under_a_running_job_leaves_each_job_one_run(self, story: Story) -> None:
        story.enqueue("hold", "first")
        story.await_runs("first", 1)
        for name in WAITING:
            story.enqueue("note", name)
        story.broker.restart()
        assert not story.broker_is_empty()
        story.let_go("first")
        story.await_completed("first", *WAITING)
        assert {story.outcome(name) for name in ("first", *WAITING)} == {ONCE}
