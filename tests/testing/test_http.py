"""HTTP jobs in a sandbox: canned responses to real requests, time that passes virtually, and no socket at all."""

from __future__ import annotations

import gzip
import re
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import InvalidJob, verify_callback
from celery_jobs.errors import InvalidUrl
from celery_jobs.http.clients import client_of
from celery_jobs.plugin import HTTP_TASK, plugin_of
from celery_jobs.testing import Sandbox, SandboxError, SentRequest
from tests.apps import make_app
from tests.testing.conftest import NO_FILE, NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs import Run

URL = "https://api.example.com/orders"
SECRET = "whsec_" + "c2VjcmV0" * 4


def make_shop(**conf: Any) -> Celery:
    return make_app(NOWHERE, NO_FILE, **{"jobs_queue_defaults": {"retry_delays": [60, 1800]}, **conf})


def ended(sandbox: Sandbox, url: str = URL, **options: Any) -> Run:
    return sandbox.run_to_end(sandbox.jobs.enqueue_http(url, **options).id)


def failed(sandbox: Sandbox, url: str = URL, **options: Any) -> tuple[str | None, str | None]:
    """The reason and the words of a request that has one attempt."""
    run = ended(sandbox, url, max_attempts=1, **options)
    assert run.final_status == "dead_lettered"
    return run.failure_reason, run.error_message


def statuses(run: Run) -> list[int | None]:
    return [job.response_status for job in run.attempts]


def test_a_request_is_seen_and_its_response_kept(sandbox: Sandbox) -> None:
    sandbox.respond(URL, status=201, json={"state": "accepted"}, headers={"X-Order": 7})
    run = ended(sandbox, payload={"order": 7}, headers={"X-Shop": "north"})
    assert (run.final_status, run.result) == ("success", {"response_status": 201, "duration_ms": 0})
    assert run.response is not None
    assert run.response.body == b'{"state": "accepted"}'
    assert run.response.headers == {"content-length": "21", "content-type": "application/json", "x-order": "7"}
    [request] = sandbox.requests
    assert (request.method, request.url, request.body) == ("POST", URL, b'{"order":7}')
    assert request.json == {"order": 7}
    assert request.at == run.started_at
    sent = {name: request.headers[name] for name in ("Webhook-Id", "x-shop", "content-type", "host")}
    assert list(sent.values()) == [run.id, "north", "application/json", "api.example.com"]
    assert sandbox.jobs.check() == []


def test_a_signature_is_good_at_its_virtual_time(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    sandbox = jobs_sandbox(make_shop(jobs_callback_secrets=[SECRET]))
    sandbox.respond(URL, status=500)
    sandbox.respond(URL)
    ended(sandbox, payload={"order": 7}, sign=True)
    first, second = sandbox.requests
    assert second.at - first.at == timedelta(seconds=60)
    for request in (first, second):
        assert verify_callback(request.headers, request.body, SECRET, 1, now=request.at.timestamp()) == {"order": 7}


def test_several_responses_answer_in_their_order_and_the_last_again(sandbox: Sandbox) -> None:
    for status in (500, 503, 200):
        sandbox.respond(URL, status=status)
    runs = [ended(sandbox), ended(sandbox)]
    assert [statuses(run) for run in runs] == [[500, 503, 200], [200]]
    assert [request.headers["webhook-id"] for request in sandbox.requests] == [runs[0].id] * 3 + [runs[1].id]


def test_each_method_and_url_has_responses_of_its_own(sandbox: Sandbox) -> None:
    sandbox.respond(re.compile("https://api.example.com/"), status=404)
    sandbox.respond(re.compile("https://api.example.com/"), method="delete", status=403)
    sandbox.respond(URL, status=202)
    sandbox.respond(URL, method="GET", status=203)
    assert statuses(ended(sandbox, method="GET")) == [203]
    assert statuses(ended(sandbox)) == [202]
    assert statuses(ended(sandbox, method="DELETE")) == [202]
    assert statuses(ended(sandbox, f"{URL}?page=2", max_attempts=1)) == [404]
    assert statuses(ended(sandbox, f"{URL}/7", method="DELETE", max_attempts=1)) == [403]


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ("https://API.example.com:443/orders", "https://api.example.com/orders"),
        ("https://bücher.example.com/", "https://xn--bcher-kva.example.com"),
        ("https://api.example.com/größe?b=2&a=1", "https://api.example.com/gr%C3%B6%C3%9Fe?b=2&a=1"),
        ("http://api.example.com:8080", "http://api.example.com:8080/"),
    ],
)
def test_a_url_is_the_same_however_it_is_written(sandbox: Sandbox, given: str, requested: str) -> None:
    sandbox.respond(given)
    assert [ended(sandbox, url).final_status for url in (given, requested)] == ["success"] * 2
    assert len({request.url for request in sandbox.requests}) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("timeout", "api.example.com did not answer within 30 s: the deadline of the whole request has passed"),
        ("connection_error", "the connection to api.example.com failed: sandbox.respond gave it fault=…"),
        ("dns_error", "the name api.example.com cannot be resolved: sandbox.respond gave it fault=…"),
        ("ssl_error", "no secure connection to api.example.com: sandbox.respond gave it fault=…"),
    ],
)
def test_a_fault_ends_an_attempt_as_the_real_one_does(sandbox: Sandbox, fault: Any, words: str) -> None:
    sandbox.respond(URL, fault=fault)
    sandbox.respond(URL, status=200)
    run = ended(sandbox)
    assert [job.failure_reason for job in run.attempts] == [fault, None]
    assert run.attempts[0].error_message == words.replace("…", repr(fault))
    assert statuses(run) == [None, 200]
    assert len(sandbox.requests) == 2


def test_a_timeout_takes_its_time_on_the_virtual_clock(sandbox: Sandbox) -> None:
    sandbox.respond(URL, fault="timeout")
    began = sandbox.now
    reason, words = failed(sandbox, timeout=120)
    assert (reason, sandbox.now - began) == ("timeout", timedelta(seconds=120))
    assert str(words).startswith("api.example.com did not answer within 120 s")


@pytest.mark.parametrize(("delay", "reason"), [(4.999, None), (5, "timeout"), (timedelta(hours=1), "timeout")])
def test_a_delay_meets_the_timeout_or_does_not(sandbox: Sandbox, delay: Any, reason: str | None) -> None:
    sandbox.respond(URL, delay=delay)
    began = sandbox.now
    assert ended(sandbox, timeout=5, max_attempts=1).failure_reason == reason
    assert sandbox.now - began == timedelta(seconds=4.999 if reason is None else 5)


def test_the_timeout_of_a_queue_is_heeded(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    sandbox = jobs_sandbox(make_shop(jobs_queues={"quick": {"timeout": 2}}))
    sandbox.respond(URL, delay=3)
    assert failed(sandbox, queue="quick")[0] == "timeout"
    assert ended(sandbox).final_status == "success"


def test_a_duration_is_that_of_the_virtual_clock(sandbox: Sandbox) -> None:
    sandbox.respond(URL, delay=1.5)
    good = ended(sandbox, assertions=[{"type": "duration", "below_ms": 1501}])
    assert (good.result, good.duration_ms) == ({"response_status": 200, "duration_ms": 1500}, 1500)
    assert good.started_at is not None
    assert good.finished_at == good.started_at + timedelta(seconds=1.5)
    reason, words = failed(sandbox, assertions=[{"type": "duration", "below_ms": 1500}])
    assert (reason, "1500" in str(words)) == ("assertion_failed", True)


def test_assertions_look_at_the_response(sandbox: Sandbox) -> None:
    sandbox.respond(URL, json={"ok": False})
    reason, words = failed(sandbox, assertions=[{"type": "json", "path": "$.ok", "equals": True}])
    assert (reason, words) == ("assertion_failed", "$.ok of the body was expected to be true, but was false")


def test_a_request_that_nobody_answers_is_raised_and_its_job_given_back(sandbox: Sandbox) -> None:
    sandbox.respond(URL, method="GET")
    sandbox.respond(re.compile("https://other"))
    run = sandbox.jobs.enqueue_http(URL, payload=1)
    for verb in (sandbox.drain, sandbox.run_due, lambda: sandbox.run(run.id), lambda: sandbox.run_to_end(run.id)):
        with pytest.raises(SandboxError) as raised:
            verb()
        assert str(raised.value) == (
            f"POST {URL} has no response, and HTTP jobs reach no network in a sandbox: "
            f"call sandbox.respond({URL!r}, …) before the job runs; answered are: GET {URL}, any re 'https://other'"
        )
    assert sandbox.requests == []
    sandbox.respond(URL)
    [done] = sandbox.drain()
    assert (done.id, done.final_status, done.attempt_number, done.losses) == (run.id, "success", 1, 0)


def test_where_nothing_is_given_the_complaint_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="answered are: none at all"):
        ended(sandbox, "http://api.example.com")


def test_redirects_are_followed_only_where_the_job_says_so(sandbox: Sandbox) -> None:
    there = "https://other.example.com/there"
    sandbox.respond(URL, status=302, headers={"Location": there})
    assert failed(sandbox) == ("http_redirect", f"api.example.com answered 302 Found, to {there}, not followed")
    with pytest.raises(SandboxError, match=f"^GET {there} has no response"):
        ended(sandbox, follow_redirects=True)
    sandbox.respond(there, delay=2, status=204)
    [run] = sandbox.drain()
    assert (run.final_status, run.result) == ("success", {"response_status": 204, "duration_ms": 2000})
    ended(sandbox, follow_redirects=True, headers={"Authorization": "secret"}, payload=1)
    first, second = sandbox.requests[-2:]
    assert [(request.method, request.url) for request in (first, second)] == [("POST", URL), ("GET", there)]
    assert ("authorization" in first.headers, "authorization" in second.headers) == (True, False)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://169.254.169.254/latest/", "http://localhost/"])
def test_an_address_that_is_refused_is_refused_here_too(sandbox: Sandbox, url: str) -> None:
    sandbox.respond(url)
    sandbox.respond("http://api.example.com/", status=307, headers={"location": url})
    with pytest.raises(InvalidJob, match="is not allowed"):
        sandbox.jobs.enqueue_http(url)
    assert failed(sandbox, "http://api.example.com/", follow_redirects=True)[0] == "blocked_address"
    assert [request.url for request in sandbox.requests] == ["http://api.example.com/"]


def test_what_the_settings_allow_is_answered(jobs_sandbox: Callable[[Celery], Sandbox]) -> None:
    allowed = {"jobs_http_allowed_hosts": ["hooks.corp.example"], "jobs_http_allowed_addresses": ["127.0.0.1", "::1"]}
    sandbox = jobs_sandbox(make_shop(**allowed))
    for url in ("http://hooks.corp.example/", "http://127.0.0.1:8088/", "http://[::1]:8088/"):
        sandbox.respond(url)
        assert ended(sandbox, url).final_status == "success"
        assert sandbox.requests[-1].url == url


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_lengthens_the_wait_on_the_virtual_clock(sandbox: Sandbox, as_date: bool) -> None:
    sandbox.advance(86_400)
    wait = timedelta(minutes=10)
    until = (sandbox.now + wait).replace(microsecond=0)
    sandbox.respond(URL, status=429, headers={"Retry-After": format_datetime(until, usegmt=True) if as_date else 600})
    sandbox.respond(URL)
    ended(sandbox)
    first, second = sandbox.requests
    assert wait - timedelta(seconds=1) < second.at - first.at <= wait


def test_a_status_after_which_retrying_cannot_help_ends_the_chain(sandbox: Sandbox) -> None:
    sandbox.respond(URL, status=410)
    run = ended(sandbox)
    assert (run.final_status, run.attempt_number, run.failure_reason) == ("dead_lettered", 1, "http_client_error")


@pytest.mark.parametrize("status", [599, 499, 206])
def test_any_status_can_come(sandbox: Sandbox, status: int) -> None:
    sandbox.respond(URL, status=status, body="what?")
    assert statuses(ended(sandbox, max_attempts=1)) == [status]


def test_bodies_are_unpacked_and_cut_as_ever(sandbox: Sandbox) -> None:
    text = "größer " * 20_000
    sandbox.respond(URL, body=gzip.compress(text.encode()), headers={"Content-Encoding": "gzip"})
    sandbox.respond(URL, body=text)
    for run in (ended(sandbox), ended(sandbox)):
        assert run.response is not None
        assert (run.response.body, run.response.truncated) == (text.encode()[:65_536], True)


def test_http_jobs_of_every_door_are_answered(app: Celery, sandbox: Sandbox) -> None:
    sandbox.respond(URL)
    result = app.tasks[HTTP_TASK].delay(url=URL, body="text")
    sandbox.drain()
    assert result.get() == {"response_status": 200, "duration_ms": 0}
    [request] = sandbox.requests
    with pytest.raises(ValueError, match="Expecting value"):
        _ = request.json


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"status": 100}, "a status from 200 to 599 is expected, not 100"),
        ({"json": 1, "body": ""}, "json and body both say what comes back"),
        ({"delay": -1}, "delay takes 0 or more seconds, not -1"),
        ({"delay": float("nan")}, "delay takes 0 or more seconds, not nan"),
        ({"fault": "dns"}, "a fault is one of timeout, connection_error, dns_error, ssl_error, not 'dns'"),
        ({"fault": "timeout", "status": 500}, "a timeout has no response: leave out its status"),
        ({"method": "HEAD"}, "the method is one of GET, POST, PUT, PATCH, DELETE, not 'HEAD'"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "printable ASCII"),
    ],
)
def test_what_cannot_be_given_is_refused_at_once(sandbox: Sandbox, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sandbox.respond(URL, **options)


def test_a_url_that_is_none_is_refused_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidUrl, match="it must begin with http:// or https://"):
        sandbox.respond("api.example.com/orders")


def test_sandboxes_have_responses_and_requests_of_their_own_and_leave_the_real_client(
    jobs_sandbox: Callable[[Celery], Sandbox],
) -> None:
    app = make_shop()
    real = client_of(plugin_of(app))
    for status in (201, 202):
        with Sandbox(app) as sandbox, Sandbox(make_shop()) as other:
            sandbox.respond(URL, status=status)
            other.respond(URL, status=204)
            assert (statuses(ended(sandbox)), statuses(ended(other))) == ([status], [204])
            assert [type(request) for request in sandbox.requests] == [SentRequest]
        assert client_of(plugin_of(app)) is real
    for ask in (lambda: sandbox.requests, lambda: sandbox.respond(URL)):
        with pytest.raises(SandboxError, match="is not open"):
            ask()
    real.close()
