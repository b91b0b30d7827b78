"""Every snippet of the site runs as it stands, and shows what it says it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from tests.docs.pages import DOCS, PAGES, Block, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.databases import Databases

ROOT = DOCS.parent
BROKER = "redis://localhost:6379/0"
POSTGRES = "postgresql+psycopg://shop@localhost/shop"
NOT_RUN = {"{toctree}", "{eval-rst}", "{literalinclude}"}
"""What is quoted is run where it stands: tests/examples."""
WARNINGS = (
    "-W",
    "error",
    "-W",
    "ignore:Call to deprecated:DeprecationWarning",
    "-W",
    "ignore:'imghdr' is deprecated:DeprecationWarning",
)
"""As pytest's own: Celery's Redis backend calls what redis-py has renamed."""


def snippets_of(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language not in NOT_RUN]


WITH_SNIPPETS = [page for page in PAGES if page != "testing.md" and snippets_of(page)]


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path) -> Path:
    """Where a page is run: the quickstart's app is there already, and its database."""
    shutil.copyfile(sqlite_template, tmp_path / "celery-jobs.sqlite3")
    return tmp_path


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database without tables, for the pages that need one."""
    if POSTGRES not in "".join(block.text for block in snippets_of(request.getfixturevalue("page"))):
        yield POSTGRES
        return
    databases: Databases = request.getfixturevalue("postgres")
    url = databases.create_database(f"docs_{os.getpid()}")
    yield url
    databases.drop_database(str(make_url(url).database))


def located(text: str, broker_url: str, postgres_url: str = POSTGRES) -> str:
    """A snippet with the servers that are here."""
    return text.replace(BROKER, broker_url).replace(POSTGRES, postgres_url)


def environment(broker_url: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, "BROKER_URL": broker_url, "COLUMNS": "200"}


@pytest.mark.parametrize("page", WITH_SNIPPETS)
def test_the_snippets_of_a_page_run_from_top_to_bottom(
    page: str, folder: Path, broker_url: str, postgres_url: str
) -> None:
    write_shop(folder, broker_url)
    blocks: list[dict[str, Any]] = [
        {"language": block.language, "text": located(block.text, broker_url, postgres_url), "line": block.line}
        for block in snippets_of(page)
    ]
    done = subprocess.run(
        [sys.executable, *WARNINGS, "-m", "tests.docs.runner"],
        cwd=folder,
        env=environment(broker_url),
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_the_tests_of_the_testing_page_pass(folder: Path) -> None:
    """No server is there, as the page promises: an address that answers nobody."""
    nowhere = "redis://127.0.0.1:1/0"
    write_shop(folder, nowhere)
    code = [block.text for block in blocks_of("testing.md") if block.language == "python"]
    (folder / "test_shop.py").write_text("\n".join(code))
    done = subprocess.run(
        [sys.executable, *WARNINGS, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=folder,
        env=environment(nowhere),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^def test_", "\n".join(code), re.MULTILINE)) > 0


def write_shop(folder: Path, broker_url: str) -> None:
    """The quickstart's `shop.py`, which the other pages go on from."""
    shop = next(block for block in blocks_of("quickstart.md") if block.text.startswith("# shop.py\n"))
    (folder / "shop.py").write_text(located(shop.text, broker_url))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_checked(page: str) -> None:
    known = NOT_RUN | {"python", "sh", "text", "json"}
    assert {block.language for block in blocks_of(page)} <= known
