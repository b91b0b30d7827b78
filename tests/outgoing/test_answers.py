"""What is sent, what comes back, how much of it is read, and which connections are kept."""

from __future__ import annotations

import gzip
import select
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

import celery_jobs
from celery_jobs.outgoing import MOST_BODY_BYTES, Client, check_headers, fetch, make_client
from tests.outgoing.servers import LOCAL, answer, answers, closes_after, gzip_bomb, header, serving, streams
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.outgoing.names import NameServer
    from tests.outgoing.servers import Visit

MEGABYTE = 2**20


def test_a_request_goes_out_as_it_was_given(client: Client, names: NameServer) -> None:
    names.knows("hooks.example.com", "127.0.0.1")
    with serving(answers(answer(b"taken", 201, X_Id="7"))) as server:
        got = fetch(
            client,
            "POST",
            f"{server.url_of('hooks.example.com')}/jobs/ü?a=b c".replace(" ", "%20"),
            headers={"Content-Type": "application/json", "X-Token": "secret"},
            content=b'{"order": 7}',
            timeout=2,
        )
    assert (got.status, got.body, got.truncated) == (201, b"taken", False)
    assert got.headers["x-id"] == "7"
    assert got.http_version == "HTTP/1.1"
    assert got.url == f"http://hooks.example.com:{server.port}/jobs/ü?a=b%20c"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /jobs/%C3%BC?a=b%20c HTTP/1.1\r\n")
    assert header(head, "host") == f"hooks.example.com:{server.port}"
    assert header(head, "content-length") == "12"
    assert header(head, "content-type") == "application/json"
    assert header(head, "x-token") == "secret"
    assert header(head, "user-agent") == f"celery-jobs/{celery_jobs.__version__}"
    assert body == b'{"order": 7}'


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def test_every_method_is_sent(method: str, client: Client) -> None:
    with serving(answers(answer(status=204, Content_Length=None))) as server:
        assert fetch(client, method, server.url, timeout=2).status == 204
    assert server.requests[0].startswith(f"{method} / ".encode())


@pytest.mark.parametrize("status", [200, 400, 404, 410, 429, 500, 503])
def test_every_status_is_an_answer(status: int, client: Client) -> None:
    with serving(answers(answer(b"said", status))) as server:
        got = fetch(client, "GET", server.url, timeout=2)
    assert (got.status, got.body) == (status, b"said")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-A": "b\r\nX-C: d"}, "printable"),
        ({"X-A": "b\nc"}, "printable"),
        ({"X-A": "\x00"}, "printable"),
        ({"X-A": " b"}, "spaces"),
        ({"X-A": "ü"}, "ASCII"),
        ({"X A": "b"}, "name of a header"),
        ({"X-A\r\nX-B": "c"}, "name of a header"),
        ({"": "b"}, "name of a header"),
        ({"Host": "127.0.0.1"}, "client itself"),
        ({"Transfer-Encoding": "chunked"}, "client itself"),
        ({"content-length": "0"}, "client itself"),
        ({"Connection": "upgrade"}, "client itself"),
    ],
)
def test_headers_cannot_change_what_is_sent_besides_them(headers: dict[str, str], said: str, client: Client) -> None:
    with pytest.raises(ValueError, match=said):
        check_headers(headers)
    with serving(answers(answer())) as server, pytest.raises(ValueError, match=said):
        fetch(client, "POST", server.url, headers=headers, timeout=2)
    assert server.visits == 0


def test_one_request_after_another_uses_one_connection(client: Client) -> None:
    with serving(answers(answer(b"one"), answer(b"", 204, Content_Length=None), answer(b"three"))) as server:
        assert [fetch(client, "GET", server.url, timeout=2).body for _ in range(3)] == [b"one", b"", b"three"]
    assert server.visits == 1


def test_a_connection_is_used_again_where_there_is_no_poll(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, and where eventlet has taken it out."""
    monkeypatch.delattr(select, "poll")
    with serving(answers(answer(b"one"), answer(b"two"))) as server:
        assert [fetch(client, "GET", server.url, timeout=2).body for _ in range(2)] == [b"one", b"two"]
    assert server.visits == 1


def test_chunked_answers_use_one_connection_too(client: Client) -> None:
    chunked = answer(b"3\r\none\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")
    with serving(answers(chunked)) as server:
        assert [fetch(client, "GET", server.url, timeout=2).body for _ in range(3)] == [b"one"] * 3
    assert server.visits == 1


@pytest.mark.parametrize(
    "lie", [answer(b"five and more", Content_Length=4), answer(b"five") + answer(b"of somebody else")]
)
def test_what_a_server_says_beyond_its_length_answers_nobody(lie: bytes, client: Client) -> None:
    with serving(answers(lie, answer(b"second"))) as server:
        assert fetch(client, "GET", server.url, timeout=2).body[:4] == b"five"
        assert fetch(client, "GET", server.url, timeout=2).body == b"second"
    assert server.visits == 2


def test_nothing_of_an_answer_is_remembered(client: Client) -> None:
    with serving(answers(answer(Set_Cookie="session=1", Alt_Svc='h2="other.example:443"'))) as server:
        for _ in range(2):
            fetch(client, "GET", server.url, timeout=2)
    assert all(header(request, "cookie") is None for request in server.requests)
    assert (server.visits, len(server.requests)) == (1, 2)


def test_the_environment_says_nothing_of_proxies(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers(answer(b"proxy"))) as proxy, serving(answers(answer(b"itself"))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with make_client(LOCAL, resolve=names.getaddrinfo) as client:
            assert fetch(client, "GET", server.url, timeout=2).body == b"itself"
    assert proxy.visits == 0


@pytest.mark.parametrize(("length", "is_cut"), [(0, False), (9, False), (10, False), (11, True), (200_000, True)])
def test_a_body_is_cut_where_asked(length: int, is_cut: bool, client: Client) -> None:
    with serving(answers(answer(b"x" * length))) as server:
        got = fetch(client, "GET", server.url, timeout=2, max_body=10)
    assert (got.body, got.truncated) == (b"x" * min(length, 10), is_cut)


@pytest.mark.slow
@pytest.mark.parametrize("length", [2 * 1024 * MEGABYTE, None], ids=["length", "until_it_closes"])
def test_of_two_gigabytes_the_beginning_is_read(length: int | None, client: Client) -> None:
    piece = b"x" * MEGABYTE
    with serving(streams(answer(Content_Length=length), piece, 2048)) as server:
        before = psutil.Process().memory_info().rss
        got = fetch(client, "GET", server.url, timeout=5)
        grown = psutil.Process().memory_info().rss - before
        assert (len(got.body), got.truncated) == (MOST_BODY_BYTES, True)
        assert server.sent < 64 * MEGABYTE, "the client went on reading"
        assert grown < 10 * MEGABYTE


def test_an_endless_chunked_body_is_cut(client: Client) -> None:
    head = answer(Content_Length=None, Transfer_Encoding="chunked")
    with serving(streams(head, b"1\r\nx\r\n" * 10_000, 10_000)) as server:
        got = fetch(client, "GET", server.url, timeout=5)
        assert (got.body, got.truncated) == (b"x" * MOST_BODY_BYTES, True)


def test_endless_headers_are_refused(client: Client) -> None:
    with (
        serving(streams(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000, 100_000)) as server,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        fetch(client, "GET", server.url, timeout=5)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"said")), ("deflate", zlib.compress(b"said")), ("x-gzip", gzip.compress(b"said"))],
    ids=["gzip", "deflate", "x-gzip"],
)
def test_a_compressed_body_is_unpacked(encoding: str, packed: bytes, client: Client) -> None:
    with serving(answers(answer(packed, Content_Encoding=encoding))) as server:
        got = fetch(client, "GET", server.url, timeout=2)
    assert (got.body, got.truncated) == (b"said", False)
    assert header(server.requests[0], "accept-encoding") == "identity", "it was not asked for"


def test_a_body_of_several_gzip_members_is_unpacked(client: Client) -> None:
    with serving(answers(answer(gzip.compress(b"sa") + gzip.compress(b"id"), Content_Encoding="gzip"))) as server:
        assert fetch(client, "GET", server.url, timeout=2).body == b"said"


def test_an_unknown_encoding_is_left_as_it_is(client: Client) -> None:
    with serving(answers(answer(b"\x1b\x00", Content_Encoding="br"))) as server:
        assert fetch(client, "GET", server.url, timeout=2).body == b"\x1b\x00"


def test_of_a_gzip_bomb_no_more_is_unpacked_than_is_kept(client: Client) -> None:
    bomb = gzip_bomb(100)
    with serving(answers(answer(bomb, Content_Encoding="gzip"))) as server:
        tracemalloc.start()
        got = fetch(client, "GET", server.url, timeout=5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (got.body, got.truncated) == (bytes(MOST_BODY_BYTES), True)
    assert most < 2 * MEGABYTE


def test_a_bomb_that_unpacks_to_nothing_is_cut_as_well(client: Client) -> None:
    nothing = zlib.compressobj(wbits=31)
    packed = b"".join(nothing.compress(b"") + nothing.flush(zlib.Z_FULL_FLUSH) for _ in range(200_000))
    with serving(answers(answer(packed, Content_Encoding="gzip"))) as server:
        got = fetch(client, "GET", server.url, timeout=5)
    assert len(packed) > MOST_BODY_BYTES * 2
    assert (got.body, got.truncated) == (b"", True)


def test_a_connection_whose_answer_was_cut_is_closed(client: Client) -> None:
    closed: list[bool] = []

    def sends_too_much(visit: Visit) -> None:
        visit.request()
        visit.send(answer(b"x" * MOST_BODY_BYTES * 2, Content_Length=10**9))
        closed.append(visit.is_over())

    with serving(sends_too_much) as server:
        assert fetch(client, "GET", server.url, timeout=2).truncated
        wait_until(lambda: closed)


def test_a_body_that_ends_when_the_server_closes_is_whole(client: Client) -> None:
    with serving(closes_after(answer(b"to the end", Content_Length=None))) as server:
        got = fetch(client, "GET", server.url, timeout=2)
    assert (got.body, got.truncated) == (b"to the end", False)


def test_a_closed_client_makes_no_requests(client: Client) -> None:
    client.close()
    with serving(answers(answer())) as server, pytest.raises(RuntimeError, match="closed"):
        fetch(client, "GET", server.url, timeout=2)
