"""Texts that would run as a script, were a page to take them for one: none does, in a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs.plugin import plugin_of
from celery_jobs.store import attempts, workers
from celery_jobs.store.rows import Failure, Response
from celery_jobs.store.tables import jobs as rows
from tests.jobs.conftest import bury, claim
from tests.web.shop import ADD

if TYPE_CHECKING:
    from celery import Celery
    from playwright.sync_api import Page

    from celery_jobs import Jobs

pytestmark = pytest.mark.xdist_group("browser")

CORPUS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "</title></textarea><svg onload=alert(3)>",
    '"\' onmouseover=alert(4) autofocus onfocus=alert(4) x="',
    "javascript:alert(5)",
    "{{7*7}}{% raw 7*7 %}${7*7}{0.__class__}",
    "<!-- --!><iframe srcdoc='<script>alert(6)</script>'>",
    "`${alert(7)}`",
    "&lt;b&gt;&#60;script&#62;",
    "\u202egnp.exe\u2066\u200b\u2028alert(8)",
)
NASTY = " ".join(CORPUS)

MADE = "main :is(img, iframe, svg, script:not([src]), [onerror], [onload], [onmouseover], [onfocus])"
"""What only such a text can have made."""


def test_no_text_of_a_job_runs_as_a_script(page: Page, app: Celery, doors: Jobs) -> None:
    named = {"idempotency_key": NASTY[:250], "queue": NASTY, "tags": {NASTY: NASTY}}
    run = doors.enqueue(ADD, (NASTY,), {"y": {NASTY: NASTY}}, max_attempts=1, **named)
    bury(plugin_of(app).db, run.id, Failure("exception", NASTY, NASTY, NASTY))
    replay = doors.replay(run.id, reason=NASTY)
    doors.pause(NASTY, by=NASTY, reason=NASTY)
    doors.schedule(NASTY[:200], ADD, (NASTY,), {"y": NASTY}, every=3600, tags=[NASTY])
    doors.pause_schedule(NASTY[:200], by=NASTY, reason=NASTY)
    doors.make_token(NASTY[:250], ["read"], queues=[NASTY], by=NASTY)
    said: Any = {"headers": {"X-A": "<script>"}, "payload": NASTY, "delay": 3600}
    request = doors.enqueue_http("https://example.com/?<script>", **said)
    db = plugin_of(app).db
    answered = doors.enqueue_http("https://example.com/?<script>")
    response = Response(200, {"x-a": NASTY, NASTY: "b"}, NASTY.encode())
    assert attempts.complete(db, claim(db, answered.id), json.dumps({NASTY: NASTY}), 5, response=response)
    crate = doors.enqueue_payload("crates", {NASTY: NASTY}, callback_url="https://example.com/?<script>")
    doors.claim("crates", NASTY[:200])
    doors.fail(crate.id, NASTY[:200], NASTY)
    spoilt = update(rows).where(rows.c.id == crate.id).values(callback_state="failed", callback_error=NASTY)
    db.run(lambda connection: connection.execute(spoilt))
    workers.register(db, NASTY, 1, [NASTY])
    paths = [
        *(
            "/jobs",
            f"/jobs/{run.id}",
            f"/jobs/{replay.id}",
            f"/jobs/{request.id}",
            f"/jobs/{answered.id}",
            f"/jobs/{crate.id}",
            "/jobs/dead-letters",
            "/jobs/queues",
        ),
        *("/jobs/schedules", "/jobs/tokens", "/jobs/audit", "/jobs/overview", "/jobs/new"),
        *(f"/jobs/bulk?verb=replay&ids={run.id}", "/jobs/nothing"),
    ]
    for path in paths:
        page.goto(path)
        assert page.locator(MADE).count() == 0, path
        assert page.locator("main a[href^='javascript:']").count() == 0
        shown = page.locator("main").inner_text()
        assert "\u202e" not in shown
    page.goto(f"/jobs/{run.id}")
    assert "<img src=x onerror=alert(1)>" in page.locator("main").inner_text()
    for query in ("q", "task", "error", "status", "created_after", "cursor", "limit"):
        page.goto(
            "/jobs?"
            + query
            + "="
            + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%22%27%3E%3Cscript%3Ealert(1)%3C/script%3E"
        )
        assert page.locator("main img, main script:not([src])").count() == 0
