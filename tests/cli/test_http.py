"""enqueue-http, and what show says of a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs
from tests.apps import working
from tests.cli.conftest import lines
from tests.cli.shop import NASTY
from tests.outgoing.servers import answer, answers, header, serving

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from tests.cli.conftest import Run

URL = "https://example.com/hook"


@pytest.fixture
def app(app: Celery) -> Celery:
    app.conf.jobs_http_allowed_addresses = ["127.0.0.1"]
    return app


def arguments(app: Celery) -> Any:
    (run,) = Jobs(app).list()
    return Jobs(app).arguments(run.id).kwargs


def test_a_request_is_enqueued_with_its_options(app: Celery, run: Run) -> None:
    request = [
        "-X",
        "put",
        "-H",
        "X-Shop: tea",
        "--header",
        "Accept:text/plain",
        "--timeout",
        "2m",
        "--follow-redirects",
    ]
    judged = ["--assert", '{"type": "body", "contains": "ok"}', "--no-retry-status", "404", "--no-retry-status", "410"]
    job = ["--queue", "plain", "--delay", "30m", "--key", "k1", "--callback-url", "https://example.com/told"]
    result = run("enqueue-http", URL, "--payload", '{"order": 7}', *request, *judged, *job)
    (made,) = Jobs(app).list()
    assert result.stdout.startswith(f"{made.id} is enqueued on plain, due 2")
    assert (made.idempotency_key, made.callback_url) == ("k1", "https://example.com/told")
    assert arguments(app) == {
        "url": URL,
        "method": "put",
        "headers": {"X-Shop": "tea", "Accept": "text/plain"},
        "payload": {"order": 7},
        "timeout": 120,
        "assertions": [{"type": "body", "contains": "ok"}],
        "follow_redirects": True,
        "no_retry_statuses": [404, 410],
    }


def test_a_body_may_be_a_text_or_a_file(app: Celery, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"\x00\xff")
    assert lines(run("enqueue-http", URL, "--body", "tea", "--json").stdout)[0]["status"] == "pending"
    assert arguments(app) == {"url": URL, "body": "tea"}
    run("enqueue-http", URL, "--body-from", str(file))
    assert [Jobs(app).arguments(one.id).kwargs.get("body_base64") for one in Jobs(app).list()] == ["AP8=", None]


def test_wait_tells_how_it_ended(run: Run, app: Celery) -> None:
    with working(app), serving(answers(answer(b"yes", 201), answer(b"no", 500))) as server:
        good = run("enqueue-http", server.url, "--wait")
        bad = run("enqueue-http", server.url, "--wait", "15")
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "ended as success" in good.stdout
    assert "answered 500 Internal Server Error" in bad.stdout
    assert header(server.requests[0], "webhook-id") is not None


def test_show_has_the_answer(run: Run, app: Celery) -> None:
    page = f"first\n{NASTY}\nlast".encode()
    with working(app), serving(answers(answer(page, 500, X_Shop="tea"))) as server:
        id = lines(run("enqueue-http", server.url, "--wait", "--json").stdout)[0]["id"]
    shown = run("show", id).stdout
    assert "failed (http_server_error)" in shown
    assert "answered  500\n" in shown
    assert "x-shop: tea\n" in shown
    assert "body  first\n" in shown
    assert "last\n" in shown
    assert "\x1b" not in shown
    assert "answer  500\n" in shown


def test_show_says_how_long_a_body_is_that_is_no_text(run: Run, app: Celery) -> None:
    with working(app), serving(answers(answer(b"\xff" * 70_000))) as server:
        id = lines(run("enqueue-http", server.url, "--wait", "--json").stdout)[0]["id"]
    assert "body  65,536 bytes, cut there, not UTF-8; --json has them\n" in run("show", id).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-H", "no colon"], "'Name: value' is expected, not 'no colon'"),
        (["--payload", "{"], "'--payload': not JSON at column 2"),
        (["--assert", "[]"], "'--assert': an object is expected"),
        (["--assert", '{"type": "body"}'], "assertions: [0]: exactly one of contains, matches is expected"),
        (["--timeout", "10m"], "timeout: a number of seconds from 1 to 300 is expected"),
        (["-X", "HEAD"], "method: one of GET, POST, PUT, PATCH, DELETE is expected"),
        (["--body", "a", "--payload", "1"], "payload and body: both say what is sent"),
        (["--body", "a", "--body-from", "-"], "give either --body or --body-from"),
        (["--sign"], "sign: there is nothing to sign with: jobs_callback_secrets is empty"),
        (["--no-retry-status", "200"], "no_retry_statuses: a list of statuses from 300 to 599"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, options: list[str], said: str) -> None:
    result = run("enqueue-http", URL, *options)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
