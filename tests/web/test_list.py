from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.shop import ADD

if TYPE_CHECKING:
    import httpx
    from playwright.sync_api import Page

    from celery_jobs import Jobs

pytestmark = pytest.mark.xdist_group("browser")


def test_jobs_are_listed(ada: httpx.Client, doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1, 2))
    assert run.id in ada.get("/jobs").text


def test_a_new_job_comes_without_reloading(page: Page, doors: Jobs) -> None:
    page.goto("/jobs")
    page.get_by_text("No jobs.").wait_for()
    run = doors.enqueue(ADD, (1, 2))
    page.locator(f"a[href$='{run.id}']").wait_for()
