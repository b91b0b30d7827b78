from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs, StoreUnavailable
from celery_jobs.plugin import plugin_of
from celery_jobs.web.api.openapi import OPERATIONS
from celery_jobs.web.api.room import Room
from tests.apps import working
from tests.processes import wait_until
from tests.web.shop import ADD, FAIL
from tests.web.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from celery import Celery


API = "/api/v1"


@pytest.fixture
def new_client(site: Site, doors: Jobs) -> Iterator[Callable[..., httpx.Client]]:
    """Programs with tokens of their own."""
    clients: list[httpx.Client] = []

    def new(*scopes: str, **options: Any) -> httpx.Client:
        text = doors.make_token("ci", scopes, **options).text
        clients.append(site.client(headers={"Authorization": f"Bearer {text}"}))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def api(new_client: Callable[..., httpx.Client]) -> httpx.Client:
    """A program that may do everything."""
    return new_client("admin")


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, **said: Any) -> dict[str, Any]:
    """The problem of an answer, with these members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem | said == problem
    return problem


def test_a_job_is_made_seen_and_cancelled(api: httpx.Client) -> None:
    answer = api.post(f"{API}/jobs", json={"task": ADD, "args": [1, 2], "tags": ["a"], "priority": 5, "delay": 600})
    job = ok(answer, 201)
    assert answer.headers["Location"] == f"{API}/jobs/{job['id']}"
    seen = ok(api.get(answer.headers["Location"]))
    assert (seen["status"], seen["priority"], seen["tags"]) == ("pending", 5, ["a"])
    assert seen["arguments"] == {"args": [1, 2], "kwargs": {}, "unreadable": None}
    assert [attempt["id"] for attempt in ok(api.get(f"{API}/jobs/{job['id']}/attempts"))["attempts"]] == [job["id"]]
    assert ok(api.post(f"{API}/jobs/{job['id']}/cancel", json={"reason": "enough"}))["final_status"] == "cancelled"
    refused(api.post(f"{API}/jobs/{job['id']}/fire"), 409, code="job_ended")
    assert ok(api.delete(f"{API}/jobs/{job['id']}")) == {"attempts_deleted": 1}
    refused(api.get(f"{API}/jobs/{job['id']}"), 404, code="job_not_found")


def test_a_known_key_gives_the_job_that_has_it(api: httpx.Client) -> None:
    first = ok(api.post(f"{API}/jobs", json={"task": ADD, "args": [1], "idempotency_key": "k"}), 201)
    headers = {"Idempotency-Key": "k"}
    second = ok(api.post(f"{API}/jobs", json={"task": ADD, "args": [1]}, headers=headers), 200)
    assert (second["id"], second["deduplicated"], second["payload_mismatch"]) == (first["id"], True, False)
    two = {"task": ADD, "args": [1], "idempotency_key": "other"}
    refused(api.post(f"{API}/jobs", json=two, headers=headers), 422, field="Idempotency-Key")


def test_a_request_and_a_payload_are_jobs_too(api: httpx.Client) -> None:
    request = ok(api.post(f"{API}/jobs", json={"url": "https://example.com/x", "payload": {"a": 1}, "delay": 600}), 201)
    assert request["task"] == "celery_jobs.http.request"
    crate = ok(api.post(f"{API}/jobs", json={"queue_name": "crates", "payload": {"a": 1}, "max_retries": 2}), 201)
    assert (crate["task"], crate["queue"], crate["max_attempts"]) == (None, "crates", 3)
    refused(api.post(f"{API}/jobs", json={"queue_name": "celery", "payload": 1}), 422, field="queue")
    refused(api.post(f"{API}/jobs", json={"payload": 1}), 422, field="queue")


def test_an_outside_worker_claims_keeps_and_ends(api: httpx.Client) -> None:
    for number in range(2):
        ok(api.post(f"{API}/jobs", json={"queue": "crates", "payload": number, "max_attempts": 1}), 201)
    claim = {"queue_name": "crates", "worker_id": "w", "limit": 5, "lease_duration_secs": 60}
    first, second = ok(api.post(f"{API}/jobs/claim", json=claim))["jobs"]
    assert (first["payload"], second["payload"]) == (0, 1)
    kept = ok(api.post(f"{API}/jobs/{first['id']}/heartbeat", json={"worker_id": "w", "lease_duration_secs": 90}))
    assert kept["id"] == first["id"]
    done = ok(api.post(f"{API}/jobs/{first['id']}/complete", json={"worker_id": "w", "result": [1]}))
    assert (done["final_status"], done["result"]) == ("success", [1])
    failed = ok(api.post(f"{API}/jobs/{second['id']}/fail", json={"worker_id": "w", "error": "broken"}))
    assert (failed["final_status"], failed["error_message"]) == ("dead_lettered", "broken")
    wrong = api.post(f"{API}/jobs/{second['id']}/complete", json={"worker_id": "v"})
    refused(wrong, 409, code="job_not_held")


def test_many_are_made_at_once_and_bad_ones_keep_none_out(api: httpx.Client) -> None:
    items = [
        {"task": ADD, "args": [1], "idempotency_key": "k"},
        {"task": ADD, "args": [1], "idempotency_key": "k"},
        {"task": "os.system", "args": ["true"]},
        {"queue": "crates", "payload": {}},
        {"url": "https://example.com/", "delay": 600},
        {"task": ADD, "args": [1, 2, 3]},
    ]
    made = ok(api.post(f"{API}/jobs/bulk", json={"jobs": items, "default_max_retries": 5}))
    assert (made["success_count"], made["failure_count"]) == (4, 2)
    assert [result["error"] and result["error"]["field"] for result in made["results"]] == [
        *(None, None, "task", None, None, "args")
    ]
    assert made["results"][0]["job_id"] == made["results"][1]["job_id"]
    assert made["results"][1]["deduplicated"]
    assert ok(api.get(f"{API}/jobs/{made['results'][0]['job_id']}"))["max_attempts"] == 6
    refused(api.post(f"{API}/jobs/bulk", json={"jobs": items * 20}), 422, field="jobs")


def test_lists_go_by_pages_and_filters(api: httpx.Client, doors: Jobs) -> None:
    ids = [doors.enqueue(ADD, (n,), tags=["odd"] if n % 2 else ["even"]).id for n in range(5)]
    first = ok(api.get(f"{API}/jobs", params={"limit": 2}))
    rest = ok(api.get(f"{API}/jobs", params={"limit": 9, "cursor": first["cursor"]}))
    assert [job["id"] for job in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert len(ok(api.get(f"{API}/jobs", params={"tag": "odd", "status": "PENDING"}))["jobs"]) == 2
    refused(api.get(f"{API}/jobs", params={"limit": 201}), 422, field="limit")
    refused(api.get(f"{API}/jobs", params={"stauts": "failed"}), 422, field="stauts")
    refused(api.get(f"{API}/jobs", params={"cursor": "x"}), 422, field="cursor")
    refused(api.get(f"{API}/jobs", params={"created_after": "soon"}), 422, field="created_after")


@pytest.fixture
def dead(app: Celery, doors: Jobs) -> list[str]:
    """Two dead letters."""
    ids = [doors.enqueue(FAIL, (f"reason {n}",), max_attempts=1).id for n in range(2)]
    with working(app):
        wait_until(lambda: all(doors.get(id).has_ended for id in ids))
    return ids


def test_dead_letters_are_listed_replayed_and_purged(api: httpx.Client, dead: list[str]) -> None:
    assert [job["id"] for job in ok(api.get(f"{API}/jobs/dlq"))["jobs"]] == dead[::-1]
    dry = ok(api.post(f"{API}/jobs/dlq/replay", json={"filter": {}, "dry_run": True}))
    assert (dry["matched"], dry["done"], dry["dry_run"]) == (2, 2, True)
    new = ok(api.post(f"{API}/jobs/{dead[0]}/replay", json={"reason": "mended"}), 201)
    assert (new["replay_of"], new["replay_reason"]) == (dead[0], "mended")
    again = ok(api.post(f"{API}/jobs/dlq/replay", json={"ids": dead}))
    assert (again["done"], again["skipped"]) == (1, {"already_replayed": 1})
    assert ok(api.post(f"{API}/jobs/dlq/purge", json={"filter": {"error": "reason 1"}}))["done"] == 1
    assert [job["id"] for job in ok(api.get(f"{API}/jobs/dlq"))["jobs"]] == [dead[0]]
    refused(api.post(f"{API}/jobs/dlq/purge", json={}), 422, field="ids")


def test_what_a_job_holds_is_erased(api: httpx.Client, doors: Jobs, dead: list[str]) -> None:
    erased = ok(api.post(f"{API}/jobs/{dead[0]}/erase", json={"reason": "asked to"}))
    assert (erased["final_status"], erased["error_type"], erased["error_message"]) == (
        "dead_lettered",
        "ValueError",
        None,
    )
    assert "erased" in ok(api.get(f"{API}/jobs/{dead[0]}"))["arguments"]["unreadable"]
    refused(api.post(f"{API}/jobs/{dead[0]}/replay"), 409)
    refused(api.post(f"{API}/jobs/{doors.enqueue(ADD, (1,)).id}/erase"), 409)
    act = doors.acts(action="erase")[-1]
    assert (act.reason, act.target["id"], act.result) == ("asked to", dead[0], "done")


def test_queues_are_paused_and_resumed(api: httpx.Client, doors: Jobs) -> None:
    assert ok(api.post(f"{API}/queues/celery/pause", json={"reason": "why", "seconds": 60}))["paused_reason"] == "why"
    doors.enqueue(ADD, (1,))
    queues = {queue["queue"]: queue for queue in ok(api.get(f"{API}/queues"))["queues"]}
    assert (queues["celery"]["waiting"], queues["celery"]["paused_reason"]) == (1, "why")
    assert ok(api.post(f"{API}/queues/celery/resume")) == {"sent": 1}
    refused(api.post(f"{API}/queues/celrey/pause"), 404, code="unknown_queue")


def test_schedules_are_made_run_and_removed(api: httpx.Client) -> None:
    path = f"{API}/schedules/night%20shift"
    made = ok(api.put(path, json={"task": ADD, "args": [1], "cron": "0 3 * * *", "timezone": "Europe/Zurich"}), 201)
    assert (made["name"], made["task"]) == ("night shift", ADD)
    assert ok(api.put(path, json={"task": ADD, "args": [1], "every": 60}))["every"] == 60
    assert [found["name"] for found in ok(api.get(f"{API}/schedules"))["schedules"]] == ["night shift"]
    assert ok(api.post(f"{path}/run"), 201)["tags"] == {"schedule": "night shift"}
    assert ok(api.post(f"{path}/pause", json={"reason": "holidays"}))["paused_reason"] == "holidays"
    assert ok(api.post(f"{path}/resume"))["paused_at"] is None
    assert api.delete(path).status_code == 204
    refused(api.get(path), 404, code="schedule_not_found")
    refused(api.put(path, json={"task": "os.system", "every": 60}), 422, field="task")


def test_events_are_streamed_until_the_job_is_over(api: httpx.Client, app: Celery, doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1,))
    with working(app), api.stream("GET", f"{API}/events", params={"id": run.id}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        text = answer.read().decode()
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert kinds == ["job.enqueued", "job.started", "job.completed"]
    (_, second, _) = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    rest = api.get(f"{API}/events", params={"id": run.id}, headers={"Last-Event-ID": second}).text
    assert [line for line in rest.splitlines() if line.startswith("event: ")] == ["event: job.completed"]
    data = next(line.removeprefix("data: ") for line in rest.splitlines() if line.startswith("data: "))
    assert json.loads(data)["details"]["final_status"] == "success"


BAD: tuple[tuple[bytes, int, dict[str, Any]], ...] = (
    (b"{", 400, {"code": "not_json"}),
    (b'{"task": "a", "task": "b"}', 400, {"code": "not_json"}),
    (b'{"task": NaN}', 400, {"code": "not_json"}),
    (b'{"task": 1e999}', 400, {"code": "not_json"}),
    (b'{"task": ' + b"9" * 5000 + b"}", 400, {"code": "not_json"}),
    (b"[" * 5000 + b"]" * 5000, 400, {"code": "not_json"}),
    (b'{"args": ' + b"[" * 70 + b"]" * 70 + b"}", 400, {"code": "not_json"}),
    (b"\xff", 400, {"code": "not_json"}),
    (b"[]", 422, {"field": "body"}),
    (b"{}", 422, {"field": "task"}),
    (b'{"task": 7}', 422, {"field": "task"}),
    (b'{"task": "shop.add", "dealy": 7}', 422, {"field": "dealy"}),
    (b'{"task": "shop.add", "delay": 86401}', 422, {"field": "delay"}),
    (b'{"task": "shop.add", "delay": 1, "run_at": "2030-01-01T00:00:00Z"}', 422, {}),
    (b'{"task": "shop.add", "queue": "a", "queue_name": "b"}', 422, {"field": "queue_name"}),
    (b'{"task": "shop.add", "queue": "New Queue"}', 422, {"field": "queue"}),
    (b'{"task": "shop.add", "url": "https://example.com"}', 422, {"field": "url"}),
    (b'{"task": "celery.backend_cleanup"}', 422, {"field": "task"}),
    (b'{"task": "celery_jobs.promoter"}', 422, {"field": "task"}),
    (b'{"task": "shop.add", "args": [], "max_attempts": 2, "max_retries": 2}', 422, {}),
    (b'{"url": "http://127.0.0.1\\r\\nX: y/"}', 422, {"field": "url"}),
    (b'{"url": "https://a.example", "headers": {"X": "a\\r\\nB: c"}}', 422, {"field": "headers"}),
    (b'{"url": "https://a.example", "headers": {"Host": "b"}}', 422, {"field": "headers"}),
    (b'{"task": "shop.add", "args": ["' + b"x" * 1_048_576 + b'"]}', 413, {}),
)
"""Bodies of a new job, and what is said of each."""


def test_bad_bodies_are_refused_and_nothing_is_made(api: httpx.Client, doors: Jobs) -> None:
    for body, status, said in BAD:
        refused(api.post(f"{API}/jobs", content=body, headers={"Content-Type": "application/json"}), status, **said)
    assert len(doors.list()) == 0


def test_other_media_types_are_refused(api: httpx.Client) -> None:
    body = json.dumps({"task": ADD, "args": [1]}).encode()
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
        refused(api.post(f"{API}/jobs", content=body, headers=headers), 415)


def test_what_is_not_there_or_not_for_it_says_so(api: httpx.Client) -> None:
    refused(api.get(f"{API}/nothing"), 404)
    assert refused(api.put(f"{API}/jobs"), 405)
    assert api.put(f"{API}/jobs").headers["Allow"] == "GET, POST"
    refused(api.options(f"{API}/jobs"), 405)
    refused(api.get(f"{API}/jobs/no-such-id"), 404)


# Who may


ARGUMENTS = {"id": "0199b2f4-0000-7000-8000-000000000000", "name": "celery"}


def path_of(path: str) -> str:
    return API + path.format(**ARGUMENTS)


@pytest.mark.parametrize("options", [{}, {"basic_auth": ["ada:lovelace"]}], ids=["open", "basic"])
def test_who_is_nobody_may_nothing(
    new_site: Callable[..., Site], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    with new_site(**options).client() as client:
        for operation in OPERATIONS:
            answer = client.request(operation.method, path_of(operation.path), json={})
            refused(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Access-Control-Allow-Origin" not in answer.headers


HELD = {
    "read": {"read"},
    "enqueue": {"enqueue"},
    "work": {"work"},
    "operate": {"operate", "work"},
    "admin": {"read", "enqueue", "work", "operate", "admin"},
}


@pytest.mark.parametrize("scope", HELD)
def test_a_scope_opens_its_operations_and_no_others(new_client: Callable[..., httpx.Client], scope: str) -> None:
    client = new_client(scope)
    for operation in OPERATIONS:
        if operation.path == "/events":
            continue
        status = client.request(operation.method, path_of(operation.path), json={}).status_code
        assert (status != 403) == (str(operation.scope) in HELD[scope]), (operation, status)


def test_a_token_of_some_queues_sees_nothing_of_others(new_client: Callable[..., httpx.Client], doors: Jobs) -> None:
    client = new_client("read", "enqueue", "operate", queues=["crates", "plain"])
    hidden = doors.enqueue(ADD, (1,), idempotency_key="k").id
    shown = ok(client.post(f"{API}/jobs", json={"queue": "plain", "task": ADD, "args": [1]}), 201)["id"]
    assert [job["id"] for job in ok(client.get(f"{API}/jobs"))["jobs"]] == [shown]
    assert [queue["queue"] for queue in ok(client.get(f"{API}/queues"))["queues"]] == ["crates", "plain"]
    unknown = client.get(f"{API}/jobs/{ARGUMENTS['id']}").json()
    for method, path in [
        ("GET", ""),
        ("GET", "/attempts"),
        ("POST", "/cancel"),
        ("POST", "/fire"),
        ("POST", "/replay"),
    ]:
        problem = refused(client.request(method, f"{API}/jobs/{hidden}{path}"), 404)
        assert problem["code"] == unknown["code"]
        assert problem["detail"] == unknown["detail"].replace(ARGUMENTS["id"], hidden)
    refused(client.get(f"{API}/jobs", params={"queue": "celery"}), 403, field="queue")
    refused(client.get(f"{API}/events", params={"queue": "celery"}), 403, field="queue")
    refused(client.get(f"{API}/events", params={"id": hidden}), 404)
    refused(client.post(f"{API}/jobs", json={"queue": "celery", "task": ADD, "args": [1]}), 403, field="queue")
    refused(client.post(f"{API}/jobs", json={"task": ADD, "args": [1]}), 422, field="queue")
    known = {"queue": "plain", "task": ADD, "args": [1], "idempotency_key": "k"}
    assert hidden not in refused(client.post(f"{API}/jobs", json=known), 409)["detail"]
    assert hidden not in client.post(f"{API}/jobs/bulk", json={"jobs": [known]}).text
    refused(client.post(f"{API}/queues/celery/pause"), 404, code="unknown_queue")
    refused(client.get(f"{API}/schedules"), 403)
    refused(client.post(f"{API}/jobs/dlq/replay", json={"ids": [hidden]}), 404)
    assert doors.get(hidden).status == "pending"


def test_a_token_ends_when_it_is_revoked_or_over(site: Site, doors: Jobs) -> None:
    lasting, short = doors.make_token("a", ["read"]), doors.make_token("b", ["read"], expires=0.001)
    for token, status in ((lasting, 200), (short, 401)):
        with site.client(headers={"Authorization": f"Bearer {token.text}"}) as client:
            assert client.get(f"{API}/jobs").status_code == status
    assert doors.tokens()[-1].last_used_at is not None
    doors.revoke_token(lasting.token.prefix)
    with site.client(headers={"Authorization": f"Bearer {lasting.text}"}) as client:
        refused(client.get(f"{API}/jobs"), 401)


def test_a_stream_that_cannot_begin_says_why(api: httpx.Client, doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1,), delay=600)
    refused(api.get(f"{API}/events", params={"since": "x"}), 422, field="since")
    refused(api.get(f"{API}/events", params={"id": run.id}, headers={"Last-Event-ID": "x"}), 422, field="since")
    refused(api.get(f"{API}/events", params={"id": ARGUMENTS["id"]}), 404)
    refused(api.get(f"{API}/events", params={"id": run.id, "queue": "celery"}), 422, field="id")


@pytest.mark.matrix
def test_a_stream_ends_when_its_token_is_revoked(site: Site, doors: Jobs) -> None:
    token = doors.make_token("a", ["read"])
    headers = {"Authorization": f"Bearer {token.text}"}
    with (
        site.client(headers=headers) as client,
        client.stream("GET", f"{API}/events", params={"queue": "celery"}) as answer,
    ):
        run = doors.enqueue(ADD, (1,), delay=600)
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("data: ")).count(run.id) > 0
        doors.revoke_token(token.token.id)
        started = time.monotonic()
        assert not any(line.startswith("data: ") for line in lines)
        assert time.monotonic() - started < 10


def test_over_its_rate_a_token_is_told_when_to_come_again(new_client: Callable[..., httpx.Client]) -> None:
    client = new_client("read", rate=3)
    assert [client.get(f"{API}/jobs").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get(f"{API}/jobs")
    refused(answer, 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 20


def test_a_queue_that_is_full_takes_no_more_and_the_others_do(
    app: Celery, new_client: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = plugin_of(app)
    monkeypatch.setattr(plugin, "settings", replace(plugin.settings, rest_max_waiting=3))
    flood, calm = (new_client("enqueue", queues=[queue]) for queue in ("plain", "crates"))
    statuses = [flood.post(f"{API}/jobs", json={"task": ADD, "args": [n], "delay": 600}).status_code for n in range(5)]
    assert statuses == [201, 201, 201, 429, 429]
    answer = flood.post(f"{API}/jobs", json={"task": ADD, "args": [1]})
    refused(answer, 429, code="queue_full", field="queue")
    assert int(answer.headers["Retry-After"]) > 0
    many = ok(flood.post(f"{API}/jobs/bulk", json={"jobs": [{"task": ADD, "args": [1]}] * 2}))
    assert (many["success_count"], many["failure_count"]) == (0, 2)
    ok(calm.post(f"{API}/jobs", json={"payload": {"a": 1}}), 201)
    anywhere = new_client("enqueue")
    refused(anywhere.post(f"{API}/jobs", json={"queue": "plain", "task": ADD, "args": [1]}), 429)
    assert [anywhere.post(f"{API}/jobs", json={"task": ADD, "args": [1]}).status_code for _ in range(4)][-1] == 429
    assert Jobs(app).cancel_many(queue="plain").done == 3
    wait_until(lambda: flood.post(f"{API}/jobs", json={"task": ADD, "args": [1]}).status_code == 201)


def test_room_is_counted_anew_after_a_second(app: Celery) -> None:
    now, db = [0.0], plugin_of(app).db
    room = Room(lambda: now[0])
    assert [room.take(db, "celery", 2) for _ in range(3)] == [True, True, False]
    now[0] = 1.5
    assert room.take(db, "celery", 2), "they were not made after all"


def test_guessing_is_slowed_down(site: Site) -> None:
    with site.client(headers={"Authorization": "Bearer cjk_guess"}) as client:
        statuses = [client.get(f"{API}/jobs").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2


def test_who_signs_in_to_flower_needs_no_token(ada: httpx.Client, doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1,), delay=600)
    assert ok(ada.post(f"{API}/jobs/{run.id}/cancel"))["final_status"] == "cancelled"
    ada.headers["Sec-Fetch-Site"] = "cross-site"
    refused(ada.post(f"{API}/jobs", json={"task": ADD, "args": [1]}), 403)
    refused(ada.get(f"{API}/jobs"), 403)
    act = next(act for act in doors.acts() if act.action == "cancel")
    assert (act.actor, act.door, act.address, act.result) == ("ada", "rest", "127.0.0.1", "done")


def test_an_act_says_which_token_it_was(api: httpx.Client, doors: Jobs) -> None:
    job = ok(api.post(f"{API}/jobs", json={"task": ADD, "args": [1], "delay": 600}), 201)
    api.post(f"{API}/jobs/{job['id']}/cancel", json={"reason": "enough"})
    cancel, enqueue, *_ = doors.acts()
    assert (cancel.action, cancel.reason, cancel.target) == ("cancel", "enough", {"id": job["id"], "terminate": False})
    assert (enqueue.action, enqueue.door, enqueue.actor) == ("enqueue", "rest", "token ci")
    assert {cancel.token_id, enqueue.token_id} == {doors.tokens()[0].id}


def test_read_only_refuses_every_change(new_site: Callable[..., Site], doors: Jobs) -> None:
    token = doors.make_token("ci", ["admin"]).text
    site = new_site(read_only=True)
    with site.client(headers={"Authorization": f"Bearer {token}"}) as client:
        for operation in OPERATIONS:
            if operation.changes:
                refused(client.request(operation.method, path_of(operation.path), json={}), 403)
        assert client.get(f"{API}/jobs").status_code == 200


def test_a_prefix_is_part_of_every_path(new_site: Callable[..., Site], doors: Jobs) -> None:
    token = doors.make_token("ci", ["admin"]).text
    with new_site(url_prefix="mon").client(headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.post(f"{API}/jobs", json={"task": ADD, "args": [1]})
        assert answer.headers["Location"].startswith("/mon/api/v1/jobs/")
        assert ok(client.get(f"{API}/openapi.json"))["servers"] == [{"url": "/mon/api/v1"}]


def test_by_oauth_the_cookie_is_not_enough_for_another_site(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_roles={"ada@example.com": "operator", "*@example.com": "viewer"})
    with Site(app, auth=".*@example.com") as site:
        with site.client(cookies=site.oauth_cookie("ada@example.com")) as client:
            job = {"task": ADD, "args": [1]}
            refused(client.post(f"{API}/jobs", json=job), 403)
            ok(client.post(f"{API}/jobs", json=job, headers={"Sec-Fetch-Site": "same-origin"}), 201)
            ok(client.post(f"{API}/jobs", json=job, headers={"Origin": site.url}), 201)
            refused(client.post(f"{API}/jobs", json=job, headers={"Origin": "null"}), 403)
            refused(client.post(f"{API}/jobs", json=job, headers={"Origin": "https://evil.example"}), 403)
        with site.client(cookies=site.oauth_cookie("bob@example.com"), headers={"Origin": site.url}) as client:
            ok(client.get(f"{API}/jobs"))
            refused(client.post(f"{API}/jobs", json=job), 403)
        with site.client(cookies=site.oauth_cookie("eve@example.com.evil.com"), headers={"Origin": site.url}) as client:
            refused(client.get(f"{API}/jobs"), 401)


def test_only_what_jobs_rest_tasks_names_is_enqueued(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_rest_tasks=["shop.a*"])
    with Site(app) as site:
        headers = {"Authorization": f"Bearer {Jobs(app).make_token('ci', ['admin']).text}"}
        with site.client(headers=headers) as client:
            ok(client.post(f"{API}/jobs", json={"task": ADD, "args": [1]}), 201)
            refused(client.post(f"{API}/jobs", json={"task": FAIL}), 403, field="task")
            refused(client.post(f"{API}/jobs", json={"url": "https://example.com"}), 403, field="task")


def test_the_database_away_is_said(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("postgresql://secret-host does not answer")

    monkeypatch.setattr(Jobs, "list", away)
    answer = api.get(f"{API}/jobs")
    assert "secret-host" not in answer.text
    refused(answer, 503)
    assert answer.headers["Retry-After"] == "5"


def test_an_error_of_ours_says_nothing_of_itself(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("SELECT secret FROM /etc/passwd")

    monkeypatch.setattr(Jobs, "list", broken)
    problem = refused(api.get(f"{API}/jobs"), 500)
    assert "secret" not in str(problem)
