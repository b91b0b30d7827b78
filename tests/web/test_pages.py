"""The main story of each page, in a real browser, with a real worker and PostgreSQL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.apps import working
from tests.processes import wait_until
from tests.web.looking import look_at
from tests.web.shop import ADD, FAIL, FLAKY

if TYPE_CHECKING:
    from celery import Celery
    from playwright.sync_api import Page

    from celery_jobs import Jobs

pytestmark = pytest.mark.xdist_group("browser")

SHOTS = os.environ.get("CELERY_JOBS_TEST_SHOTS")
"""A folder for pictures of every page, to be looked at."""


def shot(name: str) -> str | None:
    return f"{SHOTS}/{name}" if SHOTS else None


def run_all(app: Celery, doors: Jobs, *ids: str) -> None:
    with working(app, queues=["celery", "plain"]):
        wait_until(lambda: all(doors.get(id).has_ended for id in ids))


def test_jobs_are_filtered_selected_and_cancelled(page: Page, doors: Jobs) -> None:
    waiting = [doors.enqueue(ADD, (n,), delay=3600, tags=["late"]).id for n in range(3)]
    other = doors.enqueue(ADD, (9,), queue="plain", delay=3600)
    page.goto("/jobs")
    page.get_by_role("link", name="pending").click()
    page.get_by_label("Tags").fill("late")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url(re.compile("tag=late"))
    assert page.locator("tbody tr").count() == 3
    assert page.locator(f"text={other.id}").count() == 0
    look_at(page, shot("jobs"))
    page.get_by_label("Select all jobs of this page").check()
    page.get_by_label(re.compile(waiting[0])).uncheck()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("heading", name="Cancel 2 jobs?").wait_for()
    look_at(page, shot("bulk"))
    page.get_by_label("Reason").fill("not needed")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_text("done: 2 of 2").wait_for()
    look_at(page, shot("act"))
    assert [doors.get(id).status for id in waiting] == ["pending", "cancelled", "cancelled"]
    act = doors.acts()[0]
    assert (act.actor, act.action, act.reason, act.done) == ("ada", "cancel_many", "not needed", 2)


def test_a_job_is_followed_to_its_end_and_replayed(page: Page, app: Celery, doors: Jobs) -> None:
    run = doors.enqueue(FLAKY, tags={"kind": "x"})
    page.goto(f"/jobs/{run.id}")
    page.get_by_text("pending").first.wait_for()
    with working(app):
        page.locator(".jobs-timeline .jobs-state-completed").wait_for()
        page.locator("h1 .jobs-state-success").wait_for()
    assert page.locator(".jobs-attempt").count() == 2
    page.get_by_text("Traceback of attempt 1").click()
    page.get_by_text("ValueError: not yet").last.wait_for()
    look_at(page, shot("job"))
    page.reload()
    page.locator("summary", has_text="Replay").click()
    page.get_by_label("Reason").first.fill("once more")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_text("this is the replay").wait_for()
    page.get_by_role("link", name=run.id).wait_for()
    assert doors.get(run.id).replayed_as is not None


def test_dead_letters_are_replayed_and_purged(page: Page, app: Celery, doors: Jobs) -> None:
    ids = [
        doors.enqueue(FAIL, (reason,), max_attempts=1).id for reason in ("card declined", "card declined", "no bank")
    ]
    run_all(app, doors, *ids)
    page.goto("/jobs/dead-letters")
    page.get_by_role("heading", name="What they died of").wait_for()
    assert page.locator("table").first.locator("tbody tr").count() == 1
    look_at(page, shot("dead-letters"))
    page.get_by_role("link", name=f"Replay {FAIL} ValueError").click()
    page.get_by_role("heading", name="Replay 3 jobs?").wait_for()
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Of 3 jobs 3 would be done").wait_for()
    page.go_back()
    page.get_by_label("Reason").fill("the bank is back")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_text("done: 3 of 3").wait_for()
    assert {doors.get(id).replayed_as is not None for id in ids} == {True}
    page.goto("/jobs/dead-letters")
    page.get_by_role("link", name="Purge all…").click()
    page.get_by_role("button", name="Purge", exact=True).click()
    page.get_by_text("type the number of jobs, 3, to purge them for good").wait_for()
    page.get_by_label(re.compile("Nothing brings them back")).fill("3")
    page.get_by_role("button", name="Purge", exact=True).click()
    page.get_by_text("done: 3 of 3").wait_for()
    assert doors.count(status="dead_lettered") == 0


def test_what_a_job_was_called_with_is_erased(page: Page, app: Celery, doors: Jobs) -> None:
    run = doors.enqueue(FAIL, ("canary-4111",), max_attempts=1)
    run_all(app, doors, run.id)
    page.goto(f"/jobs/{run.id}")
    page.get_by_text("canary-4111").first.wait_for()
    page.locator("summary", has_text="Erase").click()
    page.get_by_role("button", name="Erase", exact=True).click()
    page.get_by_text("erased at").first.wait_for()
    assert "canary-4111" not in page.content()
    assert page.locator("summary", has_text="Replay").count() == 0
    look_at(page, shot("erased"))


@pytest.mark.matrix
def test_a_queue_is_paused_and_resumed(page: Page, doors: Jobs) -> None:
    doors.enqueue(ADD, (1,), delay=3600)
    page.goto("/jobs/queues")
    page.get_by_label("Queue", exact=True).select_option("celery")
    page.get_by_label("Reason").fill("the provider is down")
    page.get_by_label("Until").fill("2h")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("the queue celery is paused").wait_for()
    page.get_by_text("the provider is down").wait_for()
    look_at(page, shot("queues"))
    page.get_by_role("button", name="Resume celery").click()
    page.get_by_text("the queue celery goes on").wait_for()
    page.get_by_label("Until").fill("soon")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("until: seconds, a time such as 2h").wait_for()


@pytest.mark.matrix
def test_a_schedule_is_run_paused_resumed_and_removed(page: Page, doors: Jobs) -> None:
    doors.schedule("nightly", ADD, (1,), cron="0 3 * * *", timezone="Europe/Zurich")
    page.goto("/jobs/schedules")
    look_at(page, shot("schedules"))
    page.get_by_role("button", name="Run nightly now").click()
    page.get_by_text("schedule: nightly").wait_for()
    page.goto("/jobs/schedules")
    page.get_by_text("Pause…").click()
    page.get_by_label("Reason").fill("holidays")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("holidays").wait_for()
    page.get_by_role("button", name="Resume nightly").click()
    page.get_by_text("the schedule nightly is resumed").wait_for()
    page.get_by_text("Remove…").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_text("No schedules in SQL").wait_for()


@pytest.mark.matrix
def test_a_job_is_made_and_checked_as_it_is_typed(page: Page, doors: Jobs) -> None:
    page.goto("/jobs/new")
    page.get_by_label("Task", exact=True).fill(ADD)
    page.get_by_label("Arguments, a JSON list").fill("[1, 2")
    page.get_by_text("not JSON at line 1").wait_for()
    page.get_by_label("Arguments, a JSON list").fill("[1, 2, 3]")
    page.get_by_text("Not yet: args").wait_for()
    page.get_by_label("Arguments, a JSON list").fill("[1, 2]")
    page.get_by_text("This job can be made.").wait_for()
    page.get_by_label("Delay").fill("2d")
    page.get_by_role("button", name="Make the job").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Arguments, a JSON list").input_value() == "[1, 2]"
    assert len(doors.list()) == 0
    look_at(page, shot("new"))
    page.get_by_label("Delay").fill("1h")
    page.get_by_role("button", name="Make the job").click()
    page.get_by_text("the job is made").wait_for()
    assert doors.list().runs[0].task == ADD
    page.goto("/jobs/new?kind=request")
    page.get_by_label("URL", exact=True).fill("ftp://example.com")
    page.get_by_text("Not yet: url").wait_for()


@pytest.mark.matrix
def test_the_overview_has_the_last_hour_in_a_picture(page: Page, app: Celery, doors: Jobs) -> None:
    run_all(app, doors, *(doors.enqueue(ADD, (n,)).id for n in range(5)))
    page.goto("/jobs/overview")
    page.locator("[data-plot='ended'] canvas").wait_for()
    page.get_by_role("row", name=re.compile("^celery")).wait_for()
    page.get_by_text("promoter").wait_for()
    look_at(page, shot("overview"))
    doors.enqueue(ADD, (1,))
    page.locator(".metric-card", has_text="Waiting").first.get_by_text("1", exact=True).wait_for()


@pytest.mark.matrix
def test_a_token_is_made_shown_once_and_revoked(page: Page, doors: Jobs) -> None:
    page.goto("/jobs/tokens")
    page.get_by_label("Name", exact=True).fill("ci")
    page.get_by_label(re.compile("^enqueue")).check()
    page.get_by_label("Until").fill("90d")
    page.get_by_role("button", name="Make the token").click()
    text = page.locator("#token").inner_text()
    assert re.fullmatch(r"cjk_\w{12}_\w{49}", text)
    look_at(page, shot("tokens"))
    page.goto("/jobs/tokens")
    assert text not in page.content()
    assert doors.tokens()[0].scopes == ["read", "enqueue"]
    page.get_by_role("button", name="Revoke ci").click()
    page.get_by_text("the token ci is revoked").wait_for()
    page.goto("/jobs/audit")
    page.get_by_text("revoke token").first.wait_for()
    assert text not in page.content()
    look_at(page, shot("audit"))
