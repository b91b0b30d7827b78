from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from celery_jobs import StoreUnavailable
from celery_jobs.plugin import plugin_of
from celery_jobs.web import figures
from tests.jobs.conftest import bury, fail, succeed
from tests.processes import wait_until
from tests.web.shop import ADD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from celery import Celery

    from celery_jobs import Jobs
    from tests.web.site import Site

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


@pytest.fixture
def scraper(new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(figures, "KEPT", 0)
    with new_site().client() as client:
        yield client


def scrape(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """The samples of ours, by name and the values of their labels."""
    text = client.get("/metrics").text
    families = (one for one in text_string_to_metric_families(text) if one.name.startswith("celery_jobs"))
    return {(s.name, *_labels(s.labels)): s.value for one in families for s in one.samples}


def _labels(labels: dict[str, str]) -> list[str]:
    """The queue first."""
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "queue", name))]


def test_what_ended_is_counted_once(scraper: httpx.Client, app: Celery, doors: Jobs) -> None:
    db = plugin_of(app).db
    before = scrape(scraper)
    assert before["celery_jobs_up",] == 1
    succeed(db, doors.enqueue(ADD, (1,)).id)
    succeed(db, fail(db, doors.enqueue(ADD, (1,)).id, delay=0))
    bury(db, doors.enqueue(ADD, (1,), queue="emails").id)

    def counted() -> bool:
        return scrape(scraper).get(("celery_jobs_finished_total", "emails", "dead_lettered")) == 1

    wait_until(counted)
    for _ in range(2):
        found = scrape(scraper)
        assert found["celery_jobs_finished_total", "celery", "success"] == 2
        assert (found["celery_jobs_started_total", "celery"], found["celery_jobs_retried_total", "celery"]) == (3, 1)
        assert (
            found["celery_jobs_run_seconds_count", "celery"] == found["celery_jobs_wait_seconds_count", "celery"] == 3
        )
        assert found["celery_jobs_run_seconds_sum", "celery"] == pytest.approx(0.015)
        assert found["celery_jobs_depth", "emails", "dead_lettered"] == 1


def test_gauges_say_how_it_is_now(scraper: httpx.Client, doors: Jobs) -> None:
    doors.enqueue(ADD, (1,))
    doors.enqueue(ADD, (1,), delay=3600)
    doors.pause("celery")
    found = scrape(scraper)
    assert (found["celery_jobs_depth", "celery", "waiting"], found["celery_jobs_depth", "celery", "scheduled"]) == (
        1,
        1,
    )
    assert found["celery_jobs_paused", "celery"] == 1
    assert 0 <= found["celery_jobs_oldest_waiting_seconds", "celery"] < 60
    assert found["celery_jobs_service_interval_seconds", "promoter"] == 60
    assert found["celery_jobs_workers",] == 0


def test_pages_of_ended_chains_follow_each_other(
    scraper: httpx.Client, app: Celery, doors: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "PAGE", 2)
    scrape(scraper)
    for _ in range(5):
        succeed(plugin_of(app).db, doors.enqueue(ADD, (1,)).id)
    wait_until(lambda: scrape(scraper).get(("celery_jobs_finished_total", "celery", "success")) == 5)
    assert scrape(scraper)["celery_jobs_finished_total", "celery", "success"] == 5


def test_many_queues_and_secrets_make_no_series(scraper: httpx.Client, doors: Jobs, monkeypatch: Any) -> None:
    monkeypatch.setattr(figures, "MOST_QUEUES", 10)
    items = [{"task": ADD, "args": ["canary"], "queue": f"q{n}", "tags": ["canary"]} for n in range(50)]
    doors.enqueue_many(items, callback_url="https://canary.example", delay=3600)
    found = scrape(scraper)
    assert len({labels[1] for labels in found if labels[0] == "celery_jobs_depth"}) <= 10 + 4
    assert found["celery_jobs_depth", "other", "scheduled"] >= 35
    assert "canary" not in scraper.get("/metrics").text


def test_without_the_database_flowers_own_figures_come(scraper: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the database is away")

    said: list[str] = []
    monkeypatch.setattr(figures.Figures, "refresh", away)
    monkeypatch.setattr(logging.getLogger("celery_jobs"), "warning", lambda text, *args: said.append(text % args))
    for _ in range(2):
        assert scrape(scraper) == {("celery_jobs_up",): 0}
    assert "flower_" in scraper.get("/metrics").text
    assert said == ["no figures of the jobs: the database is away"]


def test_the_dashboard_and_the_alerts_name_what_there_is(scraper: httpx.Client, app: Celery, doors: Jobs) -> None:
    scrape(scraper)
    succeed(plugin_of(app).db, doors.enqueue(ADD, (1,)).id)
    wait_until(lambda: ("celery_jobs_finished_total", "celery", "success") in scrape(scraper))
    known = set(re.findall(r"^# TYPE (celery_jobs_\w+)", scraper.get("/metrics").text, re.MULTILINE))
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for text in ((GRAFANA / "dashboard.json").read_text(), (GRAFANA / "alerts.yml").read_text()):
        named = {name.removesuffix("_bucket") for name in re.findall(r"celery_jobs_\w+", text)}
        assert named <= known | {"celery_jobs_retried_total", "celery_jobs_callbacks_total"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH (Debian's package prometheus)")
@pytest.mark.parametrize("command", [("check", "alerts.yml"), ("test", "alerts_test.yml")])
def test_the_alerts_are_rules_and_fire(command: tuple[str, str]) -> None:
    verb, name = command
    told = subprocess.run(["promtool", verb, "rules", name], cwd=GRAFANA, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
