"""A worker's container is killed, restarted, and loses a process: each job ends once, and only a death is a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.containers.stories import Story

pytestmark = pytest.mark.slow


def test_a_job_of_a_killed_worker_runs_again_after_its_restart_and_ends_once(story: Story) -> None:
    story.enqueue("hold", "parcel")
    story.await_runs("parcel", 1)
    story.worker.kill()
    assert story.worker.container.status == "exited"
    story.worker.restart()
    story.await_runs("parcel", 2)
    story.let_go("parcel")
    story.await_completed("parcel")
    assert story.outcome("parcel") == ("completed", "success", 1, 2)


class TestABrokerThatDeliversAgain:
    @pytest.fixture
    def story_settings(self) -> dict[str, Any]:
        """Redis gives back what was not acknowledged within 2 s, and looks for it twice a second."""
        options = {"visibility_timeout": 2, "unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
        return {"broker_transport_options": options}

    def test_the_message_of_a_killed_worker_gives_its_job_one_outcome(self, story: Story) -> None:
        story.enqueue("hold_unacknowledged", "parcel")
        story.await_runs("parcel", 1)
        story.worker.kill()
        story.worker.restart()
        story.until(story.is_delivered_again, "the broker delivered the message again")
        # Before the kill, from the broker, and from the reaper.
        story.until(lambda: story.worker.logs().count("] received") >= 3, "the message came three times")
        story.await_runs("parcel", 2)
        story.let_go("parcel")
        story.await_completed("parcel")
        story.until(story.broker_is_empty, "the broker holds no message")
        assert story.outcome("parcel") == ("completed", "success", 1, 2)


def test_a_warm_restart_finishes_what_runs_and_loses_nothing(story: Story) -> None:
    waiting = [f"parcel {number}" for number in range(6)]
    story.enqueue("hold", "first")
    story.await_runs("first", 1)
    for name in waiting:
        story.enqueue("note", name)
    story.worker.kill("SIGTERM")
    story.worker.wait_for_log("Warm shutdown")
    story.let_go("first")
    story.await_exit(story.worker)
    assert story.outcome("first") == ("completed", "success", 0, 1)
    assert {story.outcome(name) for name in waiting} == {("pending", None, 0, 0)}
    story.worker.restart()
    story.await_completed(*waiting)
    assert {story.outcome(name) for name in waiting} == {("completed", "success", 0, 1)}


def test_a_job_whose_process_is_killed_runs_again_in_the_same_worker(story: Story) -> None:
    story.enqueue("hold", "parcel")
    (pid,) = story.await_runs("parcel", 1)
    killed = story.worker.container.exec_run(["python", "-c", f"import os; os.kill({pid}, 9)"])
    assert killed.exit_code == 0, killed.output
    runs = story.await_runs("parcel", 2)
    assert runs[1] != pid
    story.let_go("parcel")
    story.await_completed("parcel")
    assert story.outcome("parcel") == ("completed", "success", 1, 2)
    assert story.worker.logs().count(" ready.") == 1
