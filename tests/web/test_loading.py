"""How our pages come into Flower: by the plain command, into a version that is known, and never at Flower's cost."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import flower
import flower.urls
import httpx
import pytest

from celery_jobs.web import loading
from celery_jobs.web.routes import ROUTES
from celery_jobs.web.template_loader import BEHIND, TABS, PageLoader
from tests.processes import wait_until
from tests.web.flower_process import running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.slow
def test_the_plain_command_shows_the_tabs(
    tmp_path: Path, broker_url: str, new_postgresql_database: Callable[[], str]
) -> None:
    options = ("--basic_auth=a:b", "--url_prefix=mon")
    with running(tmp_path, broker_url, new_postgresql_database(), *options) as (_, client):
        client.auth = httpx.BasicAuth("a", "b")
        bar = client.get("/mon/workers").text
        for name, label, path in TABS:
            assert f'href="/mon{path}"' in bar, name
            assert label in bar
            assert client.get(f"/mon{path}").status_code == 200
        assert client.get("/mon/api/v1/openapi.json").json()["openapi"] == "3.1.0"
        assert wait_until(lambda: "celery_jobs_up 1" in client.get("/mon/metrics").text)
        assert client.get("/mon/tasks").status_code == client.get("/mon/broker").status_code == 200
        assert client.get("/mon/no-such-page").status_code == 404


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Flower's routes as they are without ours."""
    handlers = [found for found in flower.urls.handlers if found not in ROUTES]
    settings = {name: value for name, value in flower.urls.settings.items() if name != "template_loader"}
    monkeypatch.setattr(flower.urls, "handlers", handlers)
    monkeypatch.setattr(flower.urls, "settings", settings)
    return handlers


def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    logger = logging.getLogger("celery_jobs")
    monkeypatch.setattr(logger, "warning", lambda text, *args: lines.append(text % args))
    return lines


def test_loading_twice_is_loading_once(unloaded: list[Any]) -> None:
    assert loading.load()
    assert loading.load()
    assert unloaded[: len(ROUTES)] == ROUTES
    assert sum(found in ROUTES for found in unloaded) == len(ROUTES)


def test_a_flower_that_is_not_known_stays_as_it_is(unloaded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lines, before = said(monkeypatch), list(unloaded)
    monkeypatch.setattr(flower, "__version__", "3.0.0")
    assert not loading.load()
    assert unloaded == before
    assert "template_loader" not in flower.urls.settings
    assert lines == [
        "no pages of celery-jobs in Flower: it is Flower 3.0.0, and 2.2.x is known; install celery-jobs[flower]"
    ]


def test_what_the_extra_brings_is_named_where_it_is_missing(
    unloaded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, before = said(monkeypatch), list(unloaded)
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    assert not loading.load()
    assert unloaded == before
    assert lines == ["no pages of celery-jobs in Flower: jsonschema is missing; install celery-jobs[flower]"]


def test_a_bar_that_is_not_known_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "navbar.html").write_text("<nav>another</nav>")
    made = PageLoader(str(tmp_path)).load("navbar.html")
    assert "/jobs/queues" not in made.code
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "navbar.html").write_text(f"<ul>{BEHIND}</ul>")
    assert "/jobs/queues" in PageLoader(str(tmp_path / "known")).load("navbar.html").code


def test_only_flower_imports_the_pages() -> None:
    """Every command of Celery's loads the names of the handlers, and none of what they are."""
    handlers = {handler.rpartition(".")[0] for _, handler in ROUTES}
    assert all(importlib.util.find_spec(handler) is not None for handler in handlers)
    told = _output("import flower.urls, celery, celery_jobs; celery_jobs.install(celery.Celery())")
    assert "celery_jobs.web.loading" in told
    assert "celery_jobs.web.page" not in told
    assert "celery_jobs.jobs" not in told


def _output(code: str) -> list[str]:
    """The modules that a process has loaded once it has done something."""
    code += "; import sys; print(*sys.modules, sep='\\n')"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()
