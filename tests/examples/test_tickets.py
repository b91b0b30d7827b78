"""The ticket shops of `examples/` on Flask and FastAPI, asked in this process; that on Django in one of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import _state

from celery_jobs.plugin import plugin_of
from tests.examples.terminal import EXAMPLES
from tests.examples.tickets import sells_a_seat, sells_a_seat_in_a_sandbox
from tests.processes import SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def place(broker_url: str, new_sqlite_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where a shop finds its broker and database; what it makes of Celery's current app is undone."""
    monkeypatch.setenv("CELERY_BROKER_URL", broker_url)
    monkeypatch.setenv("DATABASE_URL", new_sqlite_database())
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(_state, "default_app", _state.default_app)
    before = _state._tls.current_app
    yield
    _state._set_current_app(before)


def test_the_shop_on_flask(place: None) -> None:
    from flask_app import database
    from flask_app.make_celery import celery_app, flask_app

    database.create_tables()
    client = flask_app.test_client()

    def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
        answer = client.open(path, method=method, json=body)
        return answer.status_code, answer.json

    sells_a_seat(ask, celery_app)
    sells_a_seat_in_a_sandbox(ask, celery_app)
    database.engine.dispose()
    plugin_of(celery_app).unchecked_db.dispose()


def test_the_shop_on_fastapi(place: None) -> None:
    from httpx import ASGITransport, AsyncClient

    from fastapi_app.app import app
    from fastapi_app.celery_app import celery_app
    from fastapi_app.database import engine

    async def request(method: str, path: str, body: Any) -> tuple[int, Any]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://shop.example") as client:
            answer = await client.request(method, path, json=body)
        return answer.status_code, answer.json()

    with asyncio.Runner() as loop:
        lifespan = app.router.lifespan_context(app)
        loop.run(lifespan.__aenter__())
        for story in (sells_a_seat, sells_a_seat_in_a_sandbox):
            story(lambda *asked: loop.run(request(*asked)), celery_app)
        loop.run(lifespan.__aexit__(None, None, None))
    engine.dispose()
    plugin_of(celery_app).unchecked_db.dispose()


def test_the_shop_on_django(place: None, tmp_path: Path) -> None:
    path = [SOURCE, SOURCE.parent, EXAMPLES / "django_app"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.examples.django_shop"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
