"""An app, Flower with our pages on it, and a real browser."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.apps import end
from tests.web.shop import make_shop
from tests.web.site import PASSWORD, USER, Site, signed_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from celery import Celery
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM_VARIABLE = "CELERY_JOBS_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")


@pytest.fixture
def new_app(broker_url: str, new_postgresql_database: Callable[[], str]) -> Iterator[Callable[..., Celery]]:
    """Makes apps on one broker and one PostgreSQL database, which has to be healthy at the end."""
    made: list[Celery] = []
    url = new_postgresql_database()

    def new(**conf: Any) -> Celery:
        made.append(make_shop(broker_url, url, **conf))
        return made[-1]

    yield new
    for app in made:
        end(app)


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    return new_app()


@pytest.fixture
def doors(app: Celery) -> Jobs:
    """The verbs of the app."""
    return Jobs(app)


@pytest.fixture
def new_site(app: Celery) -> Iterator[Callable[..., Site]]:
    """Starts Flowers with options of Flower's."""
    sites: list[Site] = []

    def new(**options: Any) -> Site:
        sites.append(Site(app, **options).__enter__())
        return sites[-1]

    yield new
    for site in sites:
        site.__exit__()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """A Flower that asks for a name and a password."""
    return new_site(basic_auth=[f"{USER}:{PASSWORD}"])


@pytest.fixture
def ada(site: Site) -> Iterator[httpx.Client]:
    """Somebody who has signed in, and may do everything."""
    with signed_in(site) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a screen. While it is there a loop runs in this thread, which others are not to find."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium on PATH, and {CHROMIUM_VARIABLE} names none")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A tab of somebody who has signed in. Nothing may go wrong in it, and nothing leave for another site."""
    context = browser.new_context(
        base_url=site.url,
        http_credentials={"username": USER, "password": PASSWORD},
        service_workers="block",
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    wrong: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda said: wrong.append(f"console: {said.text}") if _is_fault(said) else None)
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda asked: None if _is_own(asked.url, site) else wrong.append(f"foreign: {asked.url}"))
    yield page
    context.close()
    assert wrong == []


def _is_fault(said: ConsoleMessage) -> bool:
    """A refusal that the page shows is none."""
    return said.type == "error" and "the server responded with a status of 4" not in said.text


def _is_own(url: str, site: Site) -> bool:
    return url.startswith((f"http://127.0.0.1:{site.port}/", "data:", "about:", "blob:"))
