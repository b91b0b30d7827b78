"""The stories of the tour: each sends jobs, waits, and checks that they ended as `semantics` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from celery_jobs.demo import shop
from celery_jobs.demo.processes import PASSWORD, USER
from celery_jobs.demo.stage import Act, PromiseBroken, Steps, Story

if TYPE_CHECKING:
    from datetime import datetime

    from celery_jobs.runs import Run

__all__ = ["STORIES"]

PUNCTUAL = 2.0
"""Seconds after its time that a delayed job may start here; on an idle worker it is far less."""

AHEAD = 75
"""Seconds before its time that the promoter sends a job: the default of `jobs_promote_ahead`."""


def works_at_once(act: Act) -> Steps:
    """A job is a committed row before its message is sent."""
    act.send(shop.resize_image, "beach.jpg", 800)
    (line,) = act.lines
    yield from act.until_ended(line)
    _expect(act, line.run, "success", ["completed"])


def works_at_last(act: Act) -> Steps:
    """Each attempt is a row, and the original carries the verdict."""
    act.send(shop.charge_card, 1001, 4990)
    (line,) = act.lines
    yield from act.until_ended(line)
    _expect(act, line.run, "success", ["failed", "failed", "completed"])
    verdicts = [attempt.final_status for attempt in line.run.attempts]
    act.promise("the attempts' final_status", verdicts, ["success", "failed_with_retries", "success"])
    act.promise("resolved_by", line.run.resolved_by, line.run.attempts[-1].id)


def dies_and_comes_back(act: Act) -> Steps:
    """What is dead-lettered keeps its arguments; a replay is a new chain."""
    shop.OUTAGE.touch()
    act.send(shop.sync_inventory, "north")
    (dead,) = act.lines
    yield from act.until_ended(dead)
    _expect(act, dead.run, "dead_lettered", ["failed", "failed", "failed"])
    shop.OUTAGE.unlink()
    yield from _replayed(act, dead.run)
    dead.run = act.jobs.get(dead.run.id)
    replay = act.lines[-1].run
    act.promise("the old entry's final_status", dead.run.final_status, "dead_lettered")
    act.promise("the old entry's replayed_as", dead.run.replayed_as, replay.id)
    yield from act.until(lambda: _flower_knows(act, replay), "Flower shows the replay")
    act.lines[-1].remark = "replay; Flower shows it"


def _replayed(act: Act, dead: Run) -> Steps:
    line = act.show(act.jobs.replay(dead.id, reason="the warehouse is back"), "replay")
    yield from act.until_ended(line)
    _expect(act, line.run, "success", ["completed"])
    act.promise("replay_of", line.run.replay_of, dead.id)


def is_one_job(act: Act) -> Steps:
    """A second enqueue under the same idempotency key gives the job that is there."""
    first = act.send(shop.send_receipt, 1001, idempotency_key="receipt-1001")
    second = act.send(shop.send_receipt, 1001, idempotency_key="receipt-1001")
    act.promise("deduplicated", (first.deduplicated, second.deduplicated), (False, True))
    act.promise("the second one's job", second.job_id, first.job_id)
    yield from act.until_ended(act.lines[0])
    _expect(act, act.lines[0].run, "success", ["completed"])
    act.promise("receipts in SQL", len(act.jobs.list(task="send_receipt")), 1)


def survives_its_process(act: Act) -> Steps:
    """A lost process is no failure of the job: the same attempt runs again."""
    shop.SHORTAGE.touch()
    act.send(shop.build_report, "March")
    (line,) = act.lines
    yield from act.until_ended(line)
    _expect(act, line.run, "success", ["completed"])
    act.promise("losses", line.run.losses, 1)
    line.remark = "lost a process"


def starts_on_time(act: Act) -> Steps:
    """A delay of 60 s or less is the broker's and the worker's to wait out."""
    act.send(shop.send_reminder, "basket 17", delay=5)
    (line,) = act.lines
    act.promise("sent at once", line.run.attempts[0].sent_at is not None, True)
    yield from act.until_ended(line)
    _expect(act, line.run, "success", ["completed"])
    late = _seconds(line.run.scheduled_at, line.run.started_at)
    if not 0 <= late <= PUNCTUAL:
        raise PromiseBroken(f"send_reminder started {late:+.2f} s from its time")
    line.remark = f"{late:.2f} s late"


def waits_in_sql(act: Act) -> Steps:
    """A longer delay waits in SQL, until the promoter sees it within 75 s."""
    act.send(shop.send_reminder, "basket 18", delay=AHEAD + 2)
    (line,) = act.lines
    yield from act.until(lambda: line.run.attempts[0].sent_at is not None, "the promoter sends send_reminder")
    attempt = line.run.attempts[0]
    waited = _seconds(attempt.created_at, attempt.sent_at)
    act.promise("held in SQL until then", waited >= 2, True)
    act.promise("messages sent", attempt.send_count, 1)
    act.promise("status", line.run.status, "pending")
    line.remark = f"held in SQL for {waited:.1f} s"


def _expect(act: Act, run: Run, final_status: str, attempts: list[str]) -> None:
    act.promise(f"the final_status of {run.task}", run.final_status, final_status)
    act.promise(f"the attempts of {run.task}", [attempt.status for attempt in run.attempts], attempts)


def _seconds(start: datetime, end: datetime | None) -> float:
    if end is None:
        raise PromiseBroken("a time is missing")
    return (end - start).total_seconds()


def _flower_knows(act: Act, run: Run) -> bool:
    """Whether Flower's own API has the task, as succeeded, and its page of the job the same."""
    try:
        with httpx.Client(base_url=act.flower_url, auth=(USER, PASSWORD), timeout=2, trust_env=False) as flower:
            task, job = flower.get(f"/api/task/info/{run.task_id}"), flower.get(f"/api/v1/jobs/{run.id}")
    except httpx.HTTPError:
        return False
    if (task.status_code, job.status_code) != (200, 200):
        return False
    return (task.json()["state"], job.json()["final_status"]) == ("SUCCESS", "success")


STORIES = (
    Story("works at once", "its row is committed in SQL before its message is sent", works_at_once),
    Story(
        "works at last",
        "the bank stays silent twice; retries after 1 and 2 s, each attempt a row",
        works_at_last,
    ),
    Story(
        "dies and comes back",
        "the warehouse is down: 3 attempts fail, dead-lettered; then it is up, and the replay works",
        dies_and_comes_back,
    ),
    Story("is one job", "asked for twice under one idempotency key, it is made and run once", is_one_job),
    Story(
        "survives its process",
        "the process that runs it is killed (SIGKILL); the same attempt runs again",
        survives_its_process,
    ),
    Story(
        "starts on time",
        "due in 5 s: delays up to 60 s go to the broker at once, the worker waits",
        starts_on_time,
    ),
    Story(
        "waits in SQL",
        "due in 77 s: held in SQL, sent by the promoter 75 s ahead (--exit ends before it runs)",
        waits_in_sql,
    ),
)
