"""A redirect is an answer; where it is followed, each hop is checked as the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from celery_jobs import BlockedAddress, InvalidUrl
from celery_jobs.addresses import AddressPolicy
from celery_jobs.outgoing import MOST_REDIRECTS, Client, Reason, fetch, make_client, reason_of
from tests.outgoing.servers import answer, answers, header, redirects, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.outgoing.names import NameServer
    from tests.outgoing.servers import Server


@pytest.fixture
def other() -> Iterator[Server]:
    """Where redirects lead: 127.0.0.2."""
    with serving(answers(answer(b"other")), host="127.0.0.2") as server:
        yield server


@pytest.fixture
def narrow(names: NameServer) -> Iterator[Client]:
    """May reach 127.0.0.1, not 127.0.0.2."""
    with make_client(AddressPolicy(allowed_addresses=("127.0.0.1",)), resolve=names.getaddrinfo) as made:
        yield made


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
def test_a_redirect_is_an_answer(status: int, client: Client, other: Server) -> None:
    with serving(redirects(other.url, status)) as server:
        got = fetch(client, "POST", server.url, content=b"{}", timeout=2)
    assert (got.status, got.headers["location"]) == (status, other.url)
    assert (server.visits, other.visits) == (1, 0)


@pytest.mark.parametrize("location", ["http://a b/", "http://[/", "http://a:99999999/", "\x7f", "http:", "//"])
def test_a_redirect_that_leads_nowhere_is_still_an_answer(location: str, client: Client) -> None:
    with serving(redirects(location)) as server:
        assert fetch(client, "GET", server.url, timeout=2).status == 302


@pytest.mark.parametrize("name", ["Refresh", "Link", "Content-Location", "Alt-Svc"])
def test_other_headers_lead_nowhere(name: str, client: Client, other: Server) -> None:
    value = f"0; url={other.url}" if name == "Refresh" else other.url
    headers: dict[str, Any] = {name.replace("-", "_"): value}
    with serving(answers(answer(b"here", **headers))) as server:
        for _ in range(2):
            assert fetch(client, "GET", server.url, timeout=2, follow_redirects=True).body == b"here"
    assert other.visits == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_where_asked(status: int, client: Client, other: Server) -> None:
    with serving(redirects(f"{other.url}/there?a=b#part", status)) as server:
        got = fetch(client, "GET", server.url, timeout=2, follow_redirects=True)
    assert (got.status, got.body, got.url) == (200, b"other", f"{other.url}/there?a=b")
    assert header(other.requests[0], "host") == f"127.0.0.2:{other.port}"


@pytest.mark.parametrize(
    ("location", "path"),
    [("/b", "/b"), ("b", "/a/b"), ("../b", "/b"), ("?q", "/a/x?q"), ("//127.0.0.1:{port}/b", "/b"), ("./b#c", "/a/b")],
)
def test_a_redirect_may_be_relative(location: str, path: str, client: Client) -> None:
    first = answer(status=302)
    with serving(answers(first)) as server:
        moved = answer(status=302, Location=location.format(port=server.port))
        server.handler = answers(moved, answer(b"there"))
        got = fetch(client, "GET", f"{server.url}/a/x", timeout=2, follow_redirects=True)
    assert got.body == b"there"
    assert server.requests[1].startswith(f"GET {path} HTTP/1.1".encode())


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/",
        "http://rebound.example.com:{port}/",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inside_is_refused(
    status: int, location: str, narrow: Client, names: NameServer, other: Server
) -> None:
    names.knows("rebound.example.com", "127.0.0.2")
    with serving(redirects(location.format(port=other.port), status)) as server, pytest.raises(BlockedAddress):
        fetch(narrow, "GET", server.url, timeout=2, follow_redirects=True)
    assert other.visits == 0


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://example.com/", "javascript:alert(1)", "data:,x"),
        *("http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://user:pass@127.0.0.1/", "http://@127.0.0.1/"),
        *(
            "/\\127.0.0.2/",
            "http://127.0.0.2\\@a.com/",
            "/a b",
            "http://a\tb.com/",
            "http:///x",
            "http://[/",
            "http://a:0/",
        ),
    ],
)
def test_a_redirect_to_what_is_no_url_is_refused(location: str, client: Client) -> None:
    with serving(redirects(location)) as server, pytest.raises(InvalidUrl) as refused:
        fetch(client, "GET", server.url, timeout=2, follow_redirects=True)
    assert reason_of(refused.value) is Reason.INVALID_URL
    assert server.visits == 1


def test_a_redirect_in_a_circle_ends(client: Client) -> None:
    with serving(redirects("/again")) as server, pytest.raises(httpx.TooManyRedirects) as raised:
        fetch(client, "GET", server.url, timeout=2, follow_redirects=True)
    assert reason_of(raised.value) is Reason.HTTP_REDIRECT
    assert len(server.requests) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        *((301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD")),
        *((301, "PUT", "PUT"), (302, "DELETE", "DELETE"), (307, "POST", "POST"), (308, "POST", "POST")),
    ],
)
def test_the_method_after_a_redirect(status: int, method: str, becomes: str, client: Client, other: Server) -> None:
    with serving(redirects(other.url, status)) as server:
        fetch(
            client,
            method,
            server.url,
            headers={"Content-Type": "application/json"},
            content=b"{}",
            timeout=2,
            follow_redirects=True,
        )
    head, _, body = other.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(f"{becomes} ".encode())
    sends_content = becomes == method and method != "HEAD"
    assert body == (b"{}" if sends_content or becomes == "HEAD" else b"")
    assert (header(head, "content-type") is not None) == (body == b"{}")


def test_credentials_do_not_follow_to_another_host(client: Client, other: Server) -> None:
    secrets = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Trace": "7"}
    with serving(redirects(other.url, 307)) as server:
        fetch(client, "POST", server.url, headers=secrets, timeout=2, follow_redirects=True)
    assert header(server.requests[0], "authorization") == "Bearer x"
    assert header(other.requests[0], "authorization") is None
    assert header(other.requests[0], "cookie") is None
    assert header(other.requests[0], "x-trace") == "7"


def test_credentials_stay_with_their_host(client: Client) -> None:
    with serving(answers(answer(status=302, Location="/there"), answer())) as server:
        fetch(client, "GET", server.url, headers={"Authorization": "x"}, timeout=2, follow_redirects=True)
    assert header(server.requests[1], "authorization") == "x"


def test_encryption_is_not_left_by_a_redirect(
    trusting: Client, other: Server, tls: Callable[..., ssl.SSLContext]
) -> None:
    with serving(redirects(other.url), tls=tls()) as server:
        got = fetch(trusting, "GET", server.url, timeout=2, follow_redirects=True)
    assert (got.status, got.url) == (302, f"{server.url}/")
    assert other.visits == 0


def test_the_body_of_a_followed_redirect_is_not_read(client: Client, other: Server) -> None:
    endless = answer(b"x", status=302, Location=other.url, Content_Length=10**12)
    with serving(answers(endless)) as server:
        assert fetch(client, "GET", server.url, timeout=2, follow_redirects=True).body == b"other"
