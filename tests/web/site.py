"""Flower with our pages in a thread of the test, as `celery -A app flower` makes it, on a free port."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import flower.urls
import httpx
from flower.app import Flower
from flower.options import default_options
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import create_signed_value

from celery_jobs.web.loading import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

__all__ = ["PASSWORD", "USER", "Site", "signed_in"]

USER, PASSWORD = "ada", "lovelace"
COOKIE_SECRET = "a secret of the tests"


class Site:
    """A running Flower. `options`: Flower's own, such as `basic_auth=["ada:lovelace"]`, `read_only=True`."""

    def __init__(self, app: Celery, **options: Any) -> None:
        assert load()
        values = {name.replace("-", "_"): default_options[name] for name in default_options}
        values.update(port=0, address="127.0.0.1", **options)
        self._options = SimpleNamespace(**values)
        self._app = app
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="flower", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, without a slash at its end."""
        prefix = (self._options.url_prefix or "").strip("/")
        return f"http://127.0.0.1:{self.port}" + (f"/{prefix}" if prefix else "")

    def client(self, **options: Any) -> httpx.Client:
        """What asks it; paths follow its prefix."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def oauth_cookie(self, user: str) -> dict[str, str]:
        """The cookie that Flower gives to who has signed in by OAuth."""
        return {"user": create_signed_value(COOKIE_SECRET, "user", user).decode()}

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        settings = {**flower.urls.settings, "cookie_secret": COOKIE_SECRET}
        if self._options.url_prefix:
            settings["static_url_prefix"] = f"/{self._options.url_prefix.strip('/')}/static/"
            settings["login_url"] = f"/{self._options.url_prefix.strip('/')}/login"
        self.flower = Flower(capp=self._app, options=self._options, **settings)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self._server = HTTPServer(self.flower, xheaders=self._options.xheaders)
        self._server.add_sockets(sockets)
        self._ready.set()

    async def _stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        self._loop.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.flower.executor.shutdown()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        self._thread.join(30)


@contextmanager
def signed_in(site: Site, user: str = USER, password: str = PASSWORD) -> Iterator[httpx.Client]:
    """Somebody who has signed in by basic auth, with the token that the forms of the pages carry."""
    with site.client(auth=(user, password), headers={"Sec-Fetch-Site": "same-origin"}) as client:
        client.get("/jobs")
        client.headers["X-XSRFToken"] = client.cookies.get("_xsrf") or ""
        yield client
