"""Each way in which a server can fail has its own reason, and says in a sentence what happened."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from celery import Celery

from celery_jobs import HttpFailed, InvalidJob
from celery_jobs.plugin import HTTP_TASK, plugin_of
from tests.http.shop import NOWHERE
from tests.outgoing.servers import (
    answer,
    answers,
    closes_after,
    hangs_after_headers,
    redirects,
    resets,
    says_nothing,
    serving,
    streams,
    trickles,
)
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery_jobs import Jobs, Run
    from tests.outgoing.servers import Handler

pytestmark = pytest.mark.slow


def ended(jobs: Jobs, url: str, **options: Any) -> Run:
    return jobs.wait(jobs.enqueue_http(url, **{"queue": "once", "timeout": 2, **options}).id, 30)


def assert_failed(run: Run, reason: str, message: str, status: int | None = None) -> None:
    assert (run.final_status, run.failure_reason, run.response_status) == ("dead_lettered", reason, status)
    assert run.traceback is None
    assert run.error_message is not None
    assert re.fullmatch(message, run.error_message), run.error_message
    assert "\n" not in run.error_message


@pytest.mark.parametrize(
    ("handler", "reason", "message", "status"),
    [
        pytest.param(says_nothing, "timeout", r"[\d.:]+ did not answer within 2 s: .+", None, id="says nothing"),
        pytest.param(
            hangs_after_headers, "timeout", r"[\d.:]+ did not answer within 2 s: .+", None, id="hangs after its headers"
        ),
        pytest.param(
            trickles(answer(b"x" * 1000), 0.1), "timeout", r"[\d.:]+ did not answer within 2 s: .+", None, id="trickles"
        ),
        pytest.param(resets, "connection_error", r"the connection to [\d.:]+ failed: .+", None, id="resets"),
        pytest.param(
            closes_after(answer(b"short", Content_Length=1000)),
            "connection_error",
            r"the connection to [\d.:]+ failed: .+",
            None,
            id="lies about its length",
        ),
        pytest.param(
            closes_after(b"+OK POP3 ready\r\n"),
            "connection_error",
            r"the connection to [\d.:]+ failed: .+",
            None,
            id="speaks another language",
        ),
        pytest.param(
            answers(answer(b"what?", 500)),
            "http_server_error",
            r"[\d.:]+ answered 500 Internal Server Error",
            500,
            id="500",
        ),
        pytest.param(
            answers(answer(b"who?", 404)), "http_client_error", r"[\d.:]+ answered 404 Not Found", 404, id="404"
        ),
        pytest.param(
            answers(answer(b"?", 418)), "http_client_error", r"[\d.:]+ answered 418 I'm a Teapot", 418, id="418"
        ),
        pytest.param(answers(answer(b"?", 599)), "http_server_error", r"[\d.:]+ answered 599", 599, id="599"),
        pytest.param(
            redirects("https://example.com/there"),
            "http_redirect",
            r"[\d.:]+ answered 302 Found, to https://example.com/there, not followed",
            302,
            id="redirects",
        ),
    ],
)
def test_what_a_server_does_has_its_reason(
    jobs: Jobs, handler: Handler, reason: str, message: str, status: int | None
) -> None:
    with serving(handler) as server:
        assert_failed(ended(jobs, server.url), reason, message, status)


def test_a_server_that_is_not_there(jobs: Jobs) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    run = ended(jobs, f"http://127.0.0.1:{port}/")
    assert_failed(run, "connection_error", rf"the connection to 127\.0\.0\.1:{port} failed: .*refused.*")


def test_a_name_that_nobody_knows(jobs: Jobs) -> None:
    run = ended(jobs, f"https://{NOWHERE}/hook", timeout=20)
    assert_failed(run, "dns_error", rf"the name {NOWHERE} cannot be resolved: .+")


def test_a_server_without_tls(jobs: Jobs) -> None:
    with serving(lambda visit: visit.send(answer(b"HTTP, please", 400))) as server:
        run = ended(jobs, server.url.replace("http:", "https:"))
    assert_failed(run, "ssl_error", r"no secure connection to [\d.:]+: .+")


def test_a_certificate_that_nobody_trusts(jobs: Jobs) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(answers(answer()), tls=context) as server:
        run = ended(jobs, server.url)
    assert_failed(run, "ssl_error", r"no secure connection to [\d.:]+: .*certificate.*")


FORBIDDEN = ["http://127.0.0.2/", "http://169.254.169.254/latest/meta-data/", "http://localhost/"]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_an_address_that_is_not_allowed_is_refused_before_anything_is_written(jobs: Jobs, url: str) -> None:
    with pytest.raises(InvalidJob, match=r"the destination \S+ is not allowed \(.+\)") as refused:
        jobs.enqueue_http(url, queue="once")
    assert refused.value.field == "url"


@pytest.mark.parametrize("url", FORBIDDEN)
def test_an_address_that_the_worker_does_not_allow(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    plugin = plugin_of(jobs.app)
    generous = replace(plugin.settings, http_allowed_addresses=("0.0.0.0/0",), http_allowed_hosts=("localhost",))
    monkeypatch.setitem(plugin.__dict__, "settings", generous)
    assert_failed(ended(jobs, url), "blocked_address", r"the destination \S+ is not allowed \(.+\)")


def test_a_redirect_to_an_address_that_is_not_allowed(jobs: Jobs) -> None:
    with serving(redirects("http://169.254.169.254/latest/meta-data/")) as server:
        run = ended(jobs, server.url, follow_redirects=True)
    assert_failed(run, "blocked_address", r"the destination 169\.254\.169\.254 is not allowed \(.+\)")


def test_redirects_without_an_end(jobs: Jobs) -> None:
    with serving(redirects("/again")) as server:
        run = ended(jobs, server.url, follow_redirects=True)
    assert_failed(run, "http_redirect", r"[\d.:]+ redirects: more than \d+ redirects")


def test_a_redirect_to_nonsense(jobs: Jobs) -> None:
    with serving(redirects("http://user:secret@example.com/")) as server:
        run = ended(jobs, server.url, follow_redirects=True)
    assert_failed(run, "invalid_url", "the URL cannot be requested: .+")


def test_a_url_of_somebody_who_does_not_check(shop: Celery, jobs: Jobs) -> None:
    """A producer without the plugin: nothing was written before the job arrives; retrying cannot help."""
    plain = Celery("plain", broker=shop.conf.broker_url, backend=shop.conf.broker_url, set_as_current=False)
    result = plain.send_task(HTTP_TASK, kwargs={"url": "ftp://example.com/"}, queue="celery")
    run = wait_until(lambda: next((run for run in jobs.list(task=HTTP_TASK) if run.task_id == result.id), None), 20)
    run = jobs.wait(run.id, 40)
    plain.close()
    assert run.attempt_number == 1
    assert_failed(run, "invalid_url", "url: the scheme must be http or https, not 'ftp'")


def test_an_assertion_that_does_not_hold(jobs: Jobs) -> None:
    with serving(answers(answer(b'{"ok": false}', 201))) as server:
        run = ended(jobs, server.url, assertions=[{"type": "json", "path": "$.ok", "equals": True}])
    assert_failed(run, "assertion_failed", r"\$\.ok of the body was expected to be true, but was false", 201)


def test_no_assertion_makes_a_404_good(jobs: Jobs) -> None:
    with serving(answers(answer(b"ok", 404))) as server:
        run = ended(jobs, server.url, assertions=[{"type": "body", "contains": "ok"}])
    assert_failed(run, "http_client_error", ".* answered 404 Not Found", 404)


def test_two_gigabytes_are_not_read(jobs: Jobs) -> None:
    piece = b"x" * 1_048_576
    with serving(streams(answer(b"", Content_Length=2 * 2**30), piece, 2048)) as server:
        run = ended(jobs, server.url, timeout=60)
        assert server.sent < 64 * 2**20
    assert (run.final_status, run.response_status) == ("success", 200)
    assert run.response is not None
    assert (run.response.body, run.response.truncated) == (b"x" * 65_536, True)


def test_who_waits_for_the_result_hears_the_reason(shop: Celery, jobs: Jobs) -> None:
    with serving(answers(answer(b"what?", 500))) as server:
        run = jobs.enqueue_http(server.url, "once")
        with pytest.raises(HttpFailed, match="answered 500 Internal Server Error") as raised:
            shop.AsyncResult(run.task_id).get(timeout=40)
    assert (raised.value.reason, raised.value.response_status) == ("http_server_error", 500)
