"""Who may see and do what on the pages, and what a browser is told (research on the dashboards that were broken)."""

from __future__ import annotations

import ast
import inspect
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs import Jobs, StoreUnavailable, tokens
from celery_jobs.web.grant import role_of
from celery_jobs.web.routes import ROUTES
from tests.apps import end, working
from tests.processes import wait_until
from tests.web.shop import ADD, FAIL, make_shop
from tests.web.site import PASSWORD, USER, Site, signed_in

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from celery import Celery

ID = "0199b2f4-0000-7000-8000-000000000000"
PAGES = [
    pattern.replace(r"([^/]+)", ID).replace(r"(csv|json)", "csv").replace("\\", "")
    for pattern, handler in ROUTES
    if ".pages." in handler
]
"""An address of every page; a new one is here by itself."""


def test_every_page_is_known() -> None:
    assert len(PAGES) >= 14
    assert not any("(" in page for page in PAGES)


def test_every_page_asks_who_it_is(site: Site) -> None:
    own = {"Sec-Fetch-Site": "same-origin"}
    with site.client() as stranger, site.client(auth=(USER, "wrong")) as guesser:
        for path in PAGES:
            assert stranger.get(path).status_code == guesser.get(path).status_code == 401, path
            assert stranger.post(path, headers=own).status_code in (401, 403), path


def test_every_page_tells_browsers_what_to_keep_to(ada: httpx.Client) -> None:
    for path in PAGES:
        _require_headers(ada.get(path).headers)


def _require_headers(headers: httpx.Headers) -> None:
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "", "Origin": "null"},
    {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "same-origin", "X-XSRFToken": ""},
    {"Sec-Fetch-Site": "same-origin", "X-XSRFToken": "2|00000000|00000000000000000000000000000000|1"},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_what_no_page_of_ours_has_sent_is_refused(ada: httpx.Client, doors: Jobs, foreign: dict[str, str]) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    for path in PAGES:
        headers = {**ada.headers, **foreign}
        request = ada.build_request("POST", path, data={"do": "cancel"}, headers=headers)
        for name, value in foreign.items():
            if value == "":
                del request.headers[name]
        assert ada.send(request).status_code == 403, path
    assert ada.get(f"/jobs/{run.id}?do=cancel").status_code == 200
    assert doors.get(run.id).status == "pending"


def test_without_a_sign_in_nothing_is_changed_and_no_data_shown(
    new_site: Callable[..., Site], app: Celery, doors: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    run = doors.enqueue(FAIL, ("canary",), tags=["canary"], idempotency_key="canary", max_attempts=1)
    done = doors.enqueue(ADD, (40, 2))
    with working(app):
        wait_until(lambda: doors.get(run.id).has_ended and doors.get(done.id).has_ended)
    with new_site().client(headers={"Sec-Fetch-Site": "same-origin"}) as anybody:
        for path in [*PAGES, f"/jobs/{run.id}", f"/jobs/{done.id}"]:
            answer = anybody.get(path)
            assert "canary" not in answer.text, path
            assert "Access-Control-Allow-Origin" not in answer.headers
            anybody.headers["X-XSRFToken"] = anybody.cookies.get("_xsrf") or ""
            assert anybody.post(path, data={"do": "delete"}).status_code == 403, path
        assert "Nobody has to sign in" in anybody.get(f"/jobs/{run.id}").text
        assert anybody.get("/jobs/audit").status_code == 403
        assert anybody.get("/jobs/tokens").status_code == 403
        assert "Result" not in anybody.get(f"/jobs/{done.id}").text
    assert doors.get(run.id).has_ended


def test_read_only_hides_and_refuses(new_site: Callable[..., Site], doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    with signed_in(new_site(basic_auth=[f"{USER}:{PASSWORD}"], read_only=True)) as ada:
        for path in [*PAGES, f"/jobs/{run.id}"]:
            assert ada.post(path, data={"do": "cancel"}).status_code == 403, path
        for path in ("/jobs", f"/jobs/{run.id}", "/jobs/queues", "/jobs/schedules", "/jobs/dead-letters"):
            assert 'method="post"' not in ada.get(path).text, path
    assert doors.get(run.id).status == "pending"


def test_a_role_says_what_one_may(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_roles={"ada": "operator", "bob": "viewer"})
    doors = Jobs(app)
    run = doors.enqueue(ADD, (1,), delay=3600)
    auth = [f"{name}:{PASSWORD}" for name in ("ada", "bob", "eve")]
    with Site(app, basic_auth=auth) as site:
        with signed_in(site, "bob") as bob:
            assert bob.get(f"/jobs/{run.id}").status_code == 200
            assert bob.post(f"/jobs/{run.id}", data={"do": "cancel"}).status_code == 403
            assert bob.get("/jobs/new").status_code == 403
        with signed_in(site, "ada") as ada:
            assert ada.post(f"/jobs/{run.id}", data={"do": "delete"}).status_code == 403
            assert ada.get(f"/jobs/bulk?verb=purge&ids={run.id}").status_code == 403
            assert ada.get("/jobs/tokens").status_code == 403
            assert ada.post(f"/jobs/{run.id}", data={"do": "cancel", "reason": "why"}).status_code == 302
        with signed_in(site, "eve") as eve:
            assert eve.get("/jobs").status_code == 403
    assert doors.get(run.id).status == "cancelled"
    act = doors.acts()[0]
    assert (act.actor, act.door, act.action, act.reason) == ("ada", "dashboard", "cancel", "why")


def test_by_oauth_a_stranger_is_sent_to_sign_in(new_site: Callable[..., Site]) -> None:
    site = new_site(auth=".*@example.com", url_prefix="mon")
    with site.client() as stranger:
        answer = stranger.get("/jobs")
        assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/mon/login")
        assert stranger.post("/jobs/new", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 403
    with site.client(cookies=site.oauth_cookie("ada@example.com")) as ada:
        assert ada.get("/jobs").status_code == 200
        assert 'href="/mon/jobs/queues"' in ada.get("/jobs").text


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("ada@example.com", "admin"),
        ("bob@example.com", "viewer"),
        ("bob@example.com.evil.com", None),
        ("evil@evil.com@example.com", None),
        ("bobxexample.com", None),
        ("", None),
    ],
)
def test_patterns_of_roles_mean_the_whole_name(name: str, role: str | None) -> None:
    assert role_of(name, {"ada@example.com": "admin", "*@example.com": "viewer"}) == role
    assert role_of(name, {"*": "operator"}) == "operator"
    assert role_of(name, {}) == "admin"


BACK = ("//evil.example", "/\\evil.example", "https://evil.example", "/jobs\\@evil", "javascript:1")


@pytest.mark.parametrize("back", BACK)
def test_a_form_leads_to_pages_of_ours_alone(ada: httpx.Client, doors: Jobs, back: str) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    doors.cancel(run.id)
    answer = ada.post(f"/jobs/{run.id}", data={"do": "fire", "back": back})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/jobs/{run.id}")


def test_what_is_deleted_for_good_is_counted_again(ada: httpx.Client, doors: Jobs) -> None:
    doors.enqueue(ADD, (1,), delay=3600)
    shown = ada.get("/jobs/bulk", params={"verb": "delete", "queue": "celery"}).text
    form = dict(re.findall(r'name="(verb|act_id|matched|queue)" value="([^"]*)"', shown))
    doors.enqueue(ADD, (2,), delay=3600)
    refused = ada.post("/jobs/bulk", data={**form, "typed": "1"})
    assert refused.status_code == 409
    assert "by now 2 jobs" in refused.text
    assert doors.count() == 2
    again = ada.post("/jobs/bulk", data={**form, "matched": "2", "typed": "2"})
    assert again.headers["Location"] == f"/jobs/acts/{form['act_id']}"
    wait_until(lambda: doors.act(form["act_id"]).result == "done")
    doors.enqueue(ADD, (3,), delay=3600)
    twice = ada.post("/jobs/bulk", data={**form, "matched": "1", "typed": "1"})
    assert twice.headers["Location"] == f"/jobs/acts/{form['act_id']}"
    assert len(doors.acts(action="delete_many")) == 1
    assert doors.count() == 1


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", f"limit={'9' * 5000}", "limit=1e9", "cursor=x", f"cursor={'f' * 5000}"),
        *("created_after=99999999999999d", "attempts=99999999999999999999", f"task={'x' * 5000}", "created_after=0000"),
        "tag=" + ",".join("x" * 100),
    ],
)
def test_what_is_too_much_is_refused_at_once(ada: httpx.Client, query: str) -> None:
    started = time.monotonic()
    answer = ada.get(f"/jobs?{query}")
    assert answer.status_code == 422 or "is-invalid" in answer.text
    assert time.monotonic() - started < 2


INJECTED = ("' OR '1'='1", "'; DROP TABLE jobs; --", '" OR ""="', "%", "_", "\\", "1) UNION SELECT 1 --", "${jndi:x}")


@pytest.mark.parametrize("field", ["queue", "task", "tag", "error_type", "error"])
def test_a_filter_means_its_text_word_for_word(ada: httpx.Client, doors: Jobs, field: str) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    for text in INJECTED:
        answer = ada.get("/jobs", params={field: text})
        assert answer.status_code == 200
        assert run.id not in answer.text, text
    assert doors.count() == 1


def test_so_it_does_on_sqlite_and_by_rest(broker_url: str, new_sqlite_database: Callable[[], str]) -> None:
    app = make_shop(broker_url, new_sqlite_database())
    doors = Jobs(app)
    run = doors.enqueue(ADD, (1,), delay=3600)
    token = doors.make_token("ci", ["read"]).text
    with Site(app, basic_auth=[f"{USER}:{PASSWORD}"]) as site, signed_in(site) as ada:
        fields = ("queue", "task", "tag", "error_type", "error", "status", "original", "replay_of", "cursor", "limit")
        for field in fields:
            for text in INJECTED:
                page = ada.get("/jobs", params={field: text})
                assert page.status_code in (200, 422), (field, text)
                assert run.id not in page.text or "is-invalid" in page.text, (field, text)
                found = ada.get("/api/v1/jobs", params={field: text}, headers={"Authorization": f"Bearer {token}"})
                assert found.status_code == 422 or found.json()["jobs"] == [], (field, text)
    assert doors.count() == 1
    end(app)


def test_no_other_site_is_let_in_by_a_browser(site: Site, doors: Jobs) -> None:
    """No answer names an origin that may read it, nor one that may send more than a form."""
    token = doors.make_token("ci", ["admin"]).text
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    with site.client(headers={"Authorization": f"Bearer {token}", **asked}) as client:
        for path in ("/api/v1/jobs", "/api/v1/openapi.json", "/jobs", "/jobs/new", "/metrics"):
            for method in ("OPTIONS", "GET"):
                answer = client.request(method, path)
                assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path


def test_digests_are_compared_in_constant_time() -> None:
    """No `==` with a digest, a secret or a check in it."""
    compared = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(inspect.getsource(tokens)))
        if isinstance(node, ast.Compare) and re.search("digest|secret|check", ast.unparse(node).lower())
    ]
    assert all(one.startswith("len(") for one in compared)
    assert inspect.getsource(tokens).count("hmac.compare_digest") == 2


def test_an_audit_log_is_exported_and_runs_nowhere(ada: httpx.Client, doors: Jobs) -> None:
    run = doors.enqueue(ADD, (1,), delay=3600)
    ada.post(f"/jobs/{run.id}", data={"do": "cancel", "reason": '=HYPERLINK("http://evil")'})
    text = ada.get("/jobs/audit.csv").text
    assert "'=HYPERLINK" in text
    assert ",=HYPERLINK" not in text
    (act,) = ada.get("/jobs/audit.json", params={"action": "cancel"}).text.splitlines()
    assert '"reason": "=HYPERLINK' in act
    assert ada.get("/jobs/audit.json", params={"actor": "bob"}).text == ""


def test_secrets_are_masked(new_app: Callable[..., Celery]) -> None:
    app = new_app(jobs_redact=["token", "x"])
    doors = Jobs(app)
    run = doors.enqueue(ADD, ("canary",), {"y": {"token": "canary"}}, tags={"token": "canary"}, delay=3600)
    with Site(app, basic_auth=[f"{USER}:{PASSWORD}"]) as site, signed_in(site) as ada:
        for path in ("/jobs", f"/jobs/{run.id}", f"/api/v1/jobs/{run.id}", "/jobs/audit"):
            answer: Any = ada.get(path)
            assert answer.status_code == 200
            assert "canary" not in answer.text, path


def test_a_database_that_is_away_is_said(ada: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the jobs database does not answer")

    monkeypatch.setattr(Jobs, "list", away)
    answer = ada.get("/jobs")
    assert answer.status_code == 503
    assert "the jobs database does not answer" in answer.text
