"""Bulk acts that a page begins: they go on by themselves, and what breaks off is gone on with, nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import update

from celery_jobs.plugin import plugin_of
from celery_jobs.store.db import now
from celery_jobs.store.tables import audit
from celery_jobs.web import acts
from tests.jobs.conftest import bury
from tests.processes import wait_until
from tests.web.flower_process import running
from tests.web.shop import ADD

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from celery_jobs import Jobs

DEAD = 40


def form_of(text: str) -> dict[str, str]:
    """The hidden fields of the form that begins an act, and the token of the page."""
    return dict(re.findall(r'type="hidden" name="(_xsrf|verb|act_id|matched|final_status)" value="([^"]*)"', text))


def begin(client: httpx.Client, **more: str) -> str:
    """Begin the replay of all dead letters; the act's id."""
    shown = client.get("/jobs/bulk", params={"verb": "replay", "final_status": "dead_lettered"}).text
    form = form_of(shown)
    answer = client.post("/jobs/bulk", data={**form, **more}, headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers.get("Location")) == (302, f"/jobs/acts/{form['act_id']}"), answer.text
    return form["act_id"]


@pytest.mark.slow
def test_an_act_outlives_who_looks_and_its_rest_the_flower(
    tmp_path: Path, broker_url: str, app: Celery, doors: Jobs, ada: httpx.Client
) -> None:
    db = plugin_of(app).db
    dead = [bury(db, doors.enqueue(ADD, (n,), queue="plain").id) for n in range(2)]
    dead += [bury(db, doors.enqueue(ADD, (n,)).id) for n in range(DEAD)]
    dead = [id for id in dead if doors.get(id).final_status == "dead_lettered"]
    with running(tmp_path, broker_url, str(app.conf.jobs_database_url), "--basic_auth=a:b") as (process, client):
        client.auth = httpx.BasicAuth("a", "b")
        act_id = begin(client, rate="8", reason="the bank is back")
        wait_until(lambda: (doors.act(act_id).done or 0) >= 8)
        process.kill()
    act = doors.act(act_id)
    assert act.result is None
    assert 8 <= (act.done or 0) < len(dead)
    with db.transaction() as connection:
        connection.execute(update(audit).where(audit.c.id == act_id).values(updated_at=now(-60)))
    shown = ada.get(f"/jobs/acts/{act_id}").text
    assert "interrupted" in shown
    link = re.search(r'href="([^"]*/jobs/bulk[^"]*)"', shown)
    assert link is not None
    assert "verb=replay&amp;final_status=dead_lettered" in link[1]
    rest = begin(ada)
    wait_until(lambda: doors.act(rest).result == "done")
    replays = Counter(run.replay_of for run in doors.list(1000).runs if run.replay_of)
    assert replays == dict.fromkeys(dead, 1)


def test_only_so_many_are_at_work_at_once(
    app: Celery, doors: Jobs, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MOST", 0)
    bury(plugin_of(app).db, doors.enqueue(ADD, (1,)).id)
    form = form_of(ada.get("/jobs/bulk", params={"verb": "replay", "final_status": "dead_lettered"}).text)
    ada.post("/jobs/bulk", data=form)
    assert "bulk acts are at work already" in ada.get("/jobs").text
    assert doors.acts() == []
