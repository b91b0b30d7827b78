"""HTTP jobs from end to end: what is sent, what is kept of the answer, when it is tried again."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import InvalidJob, Jobs, verify_callback
from celery_jobs.plugin import HTTP_TASK, plugin_of
from celery_jobs.store import responses
from tests.http.shop import SECRET
from tests.outgoing.servers import answer, answers, header, says_nothing, serving
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs import Job, Run

pytestmark = pytest.mark.slow

OK = answers(answer(b'{"ok": true}', 201, Content_Type="application/json"))


def ended(jobs: Jobs, url: str, **options: Any) -> Run:
    return jobs.wait(jobs.enqueue_http(url, **options).id, 30)


def waits(attempts: tuple[Job, ...]) -> list[float]:
    """Seconds between the end of each attempt and the time of the next."""
    found = []
    for before, after in pairwise(attempts):
        assert before.finished_at is not None
        found.append((after.scheduled_at - before.finished_at).total_seconds())
    return found


def test_a_payload_is_posted_as_json(jobs: Jobs) -> None:
    with serving(OK) as server:
        run = ended(jobs, f"{server.url}/orders?shop=7", payload={"event": "order.completed", "total": "12 €"})
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /orders?shop=7 HTTP/1.1\r\n")
    assert header(head, "content-type") == "application/json"
    assert header(head, "webhook-id") == run.id
    assert body.decode() == '{"event":"order.completed","total":"12 €"}'
    assert (run.status, run.final_status, run.response_status) == ("completed", "success", 201)
    assert run.result["response_status"] == 201


def test_a_request_is_sent_as_it_was_given(jobs: Jobs) -> None:
    with serving(OK) as server:
        ended(
            jobs, server.url, method="put", body=b"\x00\xff", headers={"X-Shop": "tea", "Content-Type": "image/x-tea"}
        )
        ended(jobs, server.url, method="GET")
        ended(jobs, server.url, method="DELETE", body="all of it")
    heads, bodies = zip(*(request.split(b"\r\n\r\n", 1) for request in server.requests), strict=True)
    assert [head.split(b" ")[0] for head in heads] == [b"PUT", b"GET", b"DELETE"]
    assert bodies == (b"\x00\xff", b"", b"all of it")
    assert [header(head, "content-type") for head in heads] == ["image/x-tea", None, "text/plain; charset=utf-8"]
    assert header(heads[0], "x-shop") == "tea"


def test_the_response_is_kept_and_shown(jobs: Jobs) -> None:
    with serving(OK) as server:
        run = ended(jobs, server.url)
    shown = run.to_json()
    for form in (shown, *shown["attempts"]):
        assert form["response_status"] == 201
        assert form["response_headers"] == {"content-type": "application/json", "content-length": "12"}
        assert form["response_body"] == '{"ok": true}'
        assert form["response_body_base64"] is None
        assert form["response_truncated"] is False
    (listed,) = [one for one in jobs.list(task=HTTP_TASK).runs if one.id == run.id]
    assert (listed.response_status, listed.response) == (201, None)


def test_each_attempt_has_a_response_of_its_own(jobs: Jobs) -> None:
    with serving(answers(answer(b"first", 500), answer(b"second", 502), answer(b"third"))) as server:
        run = ended(jobs, server.url)
    assert [job.response_status for job in run.attempts] == [500, 502, 200]
    assert [job.response.body for job in run.attempts if job.response] == [b"first", b"second", b"third"]
    assert [job.failure_reason for job in run.attempts] == ["http_server_error", "http_server_error", None]


def test_a_body_that_is_no_text_is_base64(jobs: Jobs) -> None:
    picture = bytes(range(256)) * 4
    with serving(answers(answer(picture, X_Odd="\x80\xe9"))) as server:
        run = ended(jobs, server.url)
    assert run.response is not None
    assert run.response.body == picture
    shown = run.to_json()
    assert shown["response_body"] is None
    assert base64.b64decode(shown["response_body_base64"]) == picture


def test_a_body_is_cut_at_64_kib_and_marked(jobs: Jobs) -> None:
    with serving(answers(answer(("é" * 100_000).encode()), answer(b"x" + ("é" * 100_000).encode()))) as server:
        even, odd = ended(jobs, server.url), ended(jobs, server.url)
    for run, text in ((even, "é" * 32_768), (odd, "x" + "é" * 32_767)):
        assert run.response is not None
        assert (len(run.response.body), run.response.truncated) == (65_536, True)
        assert run.to_json()["response_body"] == text


def test_assertions_look_at_more_than_is_kept(jobs: Jobs) -> None:
    page = json.dumps({"filler": "x" * 200_000, "last": 7}).encode()
    with serving(answers(answer(page))) as server:
        run = ended(jobs, server.url, assertions=[{"type": "json", "path": "$.last", "equals": 7}])
    assert run.final_status == "success"
    assert run.response is not None
    assert (len(run.response.body), run.response.truncated) == (65_536, True)


def test_all_attempts_have_one_webhook_id(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 500), answer(b"", 500), answer(b"", 200))) as server:
        run = ended(jobs, server.url, payload=1)
    assert {header(request, "webhook-id") for request in server.requests} == {run.id}
    assert len(server.requests) == 3


def test_a_signed_request_is_believed(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 500), answer(b"", 200))) as server:
        run = ended(jobs, server.url, payload={"total": 7}, sign=True)
    assert len(server.requests) == 2
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        headers = {name: header(head, name) or "" for name in names}
        assert verify_callback(headers, body, SECRET) == {"total": 7}
        assert headers["webhook-id"] == run.id


def test_retry_after_in_seconds_lengthens_the_wait(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 503, Retry_After="2"), answer(b"", 429, Retry_After="0"), answer())) as server:
        run = ended(jobs, server.url)
    assert [job.response_status for job in run.attempts] == [503, 429, 200]
    assert waits(run.attempts) == [2.0, 0.2]
    assert run.attempts[0].error_message is not None
    assert run.attempts[0].error_message.endswith("answered 503 Service Unavailable and asks to wait 2 s")


def test_retry_after_as_a_date_lengthens_the_wait(jobs: Jobs) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    with serving(answers(answer(b"", 429, Retry_After=later))) as server:
        run = jobs.enqueue_http(server.url)
        second = _second(jobs, run.id)
    assert 900 < waits(second)[0] <= 1000
    jobs.cancel(run.id)


def test_retry_after_is_capped_and_never_shortens(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 503, Retry_After="99999999"))) as server:
        capped = jobs.enqueue_http(server.url)
        assert waits(_second(jobs, capped.id)) == [3600.0]
    with serving(answers(answer(b"", 503, Retry_After="5"))) as server:
        longer = jobs.enqueue_http(server.url, "slow")
        assert waits(_second(jobs, longer.id)) == [600.0]
    with serving(answers(answer(b"", 500, Retry_After="5"), answer())) as server:
        others = ended(jobs, server.url)
        assert waits(others.attempts) == [0.1]
    for run in (capped, longer):
        jobs.cancel(run.id)


def _second(jobs: Jobs, id: str) -> tuple[Job, ...]:
    """The attempts of a run once there are two."""
    wait_until(lambda: len(jobs.get(id).attempts) == 2, 20, "there is no second attempt")
    return jobs.get(id).attempts


def test_429_without_retry_after_follows_the_policy(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 429))) as server:
        run = ended(jobs, server.url)
    assert (run.final_status, run.attempt_number, run.failure_reason) == ("dead_lettered", 3, "http_client_error")
    assert waits(run.attempts) == [0.1, 0.2]


def test_410_ends_the_chain_at_once(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 410))) as server:
        run = ended(jobs, server.url)
        assert (run.final_status, run.attempt_number, run.failure_reason) == ("dead_lettered", 1, "http_client_error")
        assert str(run.error_message).endswith("answered 410 Gone; retrying cannot help")
        tried = ended(jobs, server.url, no_retry_statuses=[404])
        assert tried.attempt_number == 3


def test_statuses_that_end_the_chain_can_be_named(jobs: Jobs) -> None:
    with serving(answers(answer(b"", 501))) as server:
        assert ended(jobs, server.url, no_retry_statuses=[404, 501]).attempt_number == 1


def test_the_queue_says_what_the_job_does_not(jobs: Jobs) -> None:
    with serving(answers(answer(b"", X_Shop="closed"))) as server:
        run = ended(jobs, server.url, queue="strict")
        assert run.error_message == "the header X-Shop was expected to be \"open\", but was 'closed'"
        assert ended(jobs, server.url, queue="strict", assertions=[]).final_status == "success"
    with serving(says_nothing) as server:
        run = ended(jobs, server.url, queue="strict")
        assert "did not answer within 2 s" in str(run.error_message)


def test_redirects_are_followed_where_asked(jobs: Jobs) -> None:
    steps = answers(answer(b"", 302, Location="/there"), answer(b"arrived"))
    with serving(steps) as server:
        run = ended(jobs, server.url, follow_redirects=True)
    assert (run.final_status, run.response and run.response.body) == ("success", b"arrived")


def test_a_replay_repeats_everything(jobs: Jobs) -> None:
    bad = answers(answer(b"", 410), answer(b"done", 200))
    with serving(bad) as server:
        first = ended(
            jobs,
            server.url,
            method="PATCH",
            body=b"\x01\x02",
            headers={"X-Shop": "tea"},
            sign=True,
            assertions=[{"type": "body", "contains": "done"}],
            tags=["shop"],
        )
        replayed = jobs.wait(jobs.replay(first.id, reason="it is back").id, 40)
    assert (replayed.final_status, replayed.tags) == ("success", ["shop"])
    before, after = (request.partition(b"\r\n\r\n") for request in server.requests)
    assert (before[2], after[2]) == (b"\x01\x02", b"\x01\x02")
    assert header(after[0], "x-shop") == "tea"
    assert header(after[0], "webhook-signature") is not None
    assert [header(head, "webhook-id") for head in (before[0], after[0])] == [first.id, replayed.id]


def test_a_key_is_one_jobs_within_its_queue(jobs: Jobs) -> None:
    with serving(OK) as server:
        first = jobs.enqueue_http(server.url, "once", payload=1, idempotency_key="order-7")
        again = jobs.enqueue_http(server.url, "once", payload=1, idempotency_key="order-7")
        other = jobs.enqueue_http(f"{server.url}/2", "once", payload=2, idempotency_key="order-7")
        elsewhere = jobs.enqueue_http(server.url, "slow", payload=1, idempotency_key="order-7")
        both = jobs.enqueue_many(
            [
                {"task": HTTP_TASK, "kwargs": {"url": server.url}, "queue": queue, "idempotency_key": "order-8"}
                for queue in ("once", "once")
            ]
        )
        for run in (first, elsewhere, jobs.get(str(both[0].job_id))):
            jobs.wait(run.id, 40)
    assert (again.id, again.deduplicated, again.payload_mismatch) == (first.id, True, False)
    assert (other.id, other.deduplicated, other.payload_mismatch) == (first.id, True, True)
    assert (elsewhere.deduplicated, elsewhere.id == first.id) == (False, False)
    assert both[1].job_id == both[0].job_id
    for run in (first, elsewhere, jobs.get(str(both[0].job_id))):
        jobs.delete(run.id)


def test_a_connection_is_kept_over_jobs(jobs: Jobs) -> None:
    with serving(OK) as server:
        for _ in range(12):
            ended(jobs, server.url, queue="once")
        assert len(server.requests) == 12
        assert server.visits <= 9


def test_what_is_secret_is_masked(jobs: Jobs) -> None:
    body = b'{"card": "4242-4242", "ok": true}'
    with serving(answers(answer(body, 500, X_Token="abc"), answer(body, X_Token="abc"))) as server:
        run = ended(jobs, server.url, headers={"X-Token": "mine"}, payload={"card": "4242-4242"})
    assert header(server.requests[0], "x-token") == "mine"
    assert server.requests[0].endswith(b'{"card":"4242-4242"}')
    assert run.response is not None
    assert (run.response.headers["x-token"], run.response.body) == ("***", b'{"card": "***", "ok": true}')
    written = json.dumps(run.to_json()) + str(jobs.arguments(run.id))
    assert "4242-4242" not in written
    assert "mine" not in written


def test_a_response_goes_with_its_chain(shop: Celery, jobs: Jobs) -> None:
    db = plugin_of(shop).db
    with serving(answers(answer(b"", 500), answer(b"", 200))) as server:
        run = ended(jobs, server.url)
    ids = [job.id for job in run.attempts]
    with db.reading() as connection:
        assert len(responses.read(connection, ids)) == 2
    jobs.delete(run.id)
    with db.reading() as connection:
        assert responses.read(connection, ids) == {}


def by_jobs(shop: Celery, arguments: dict[str, Any]) -> None:
    Jobs(shop).enqueue_http(**arguments)


def by_many(shop: Celery, arguments: dict[str, Any]) -> None:
    (outcome,) = Jobs(shop).enqueue_many([{"task": HTTP_TASK, "kwargs": arguments}])
    assert outcome.error is not None
    raise outcome.error


def by_delay(shop: Celery, arguments: dict[str, Any]) -> None:
    shop.tasks[HTTP_TASK].delay(**arguments)


def by_send_task(shop: Celery, arguments: dict[str, Any]) -> None:
    shop.send_task(HTTP_TASK, kwargs=arguments)


def by_signature(shop: Celery, arguments: dict[str, Any]) -> None:
    shop.tasks[HTTP_TASK].si(**arguments).apply_async()


@pytest.mark.parametrize("door", [by_jobs, by_many, by_delay, by_send_task, by_signature])
def test_no_door_takes_a_bad_request(shop: Celery, jobs: Jobs, door: Callable[..., None]) -> None:
    before = jobs.count(task=HTTP_TASK)
    with pytest.raises(InvalidJob, match=r"method: one of GET, POST, PUT, PATCH, DELETE is expected, not 'FETCH'"):
        door(shop, {"url": "http://127.0.0.1/", "method": "FETCH"})
    assert jobs.count(task=HTTP_TASK) == before


def test_an_unknown_option_is_refused_with_the_nearest(jobs: Jobs) -> None:
    with pytest.raises(InvalidJob, match=r"follow_redirect: unknown option; did you mean follow_redirects\?"):
        jobs.enqueue_http("http://127.0.0.1/", follow_redirect=True)
    with pytest.raises(InvalidJob, match=r"idempotency_keys: unknown option; did you mean idempotency_key\?"):
        jobs.enqueue_http("http://127.0.0.1/", idempotency_keys="a")
