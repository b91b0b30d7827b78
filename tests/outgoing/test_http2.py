"""HTTP/2 where the server speaks it: the same deadline, the same caps, a connection for one request at a time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from celery_jobs.outgoing import Client, fetch, make_client
from celery_jobs.outgoing import client as module
from tests.outgoing.http2 import answers_in_http2
from tests.outgoing.servers import LOCAL, answer, answers, serving

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.outgoing.names import NameServer


@pytest.fixture
def speaker(ca_file: str, names: NameServer) -> Iterator[Client]:
    """Speaks HTTP/2, as it does by default where the extra is there."""
    with make_client(LOCAL, ca_file=ca_file, resolve=names.getaddrinfo) as made:
        yield made


@pytest.fixture
def h2(tls: Callable[..., ssl.SSLContext]) -> ssl.SSLContext:
    context = tls()
    context.set_alpn_protocols(["h2"])
    return context


def test_http2_is_spoken_where_the_server_speaks_it(speaker: Client, names: NameServer, h2: ssl.SSLContext) -> None:
    names.knows("hooks.example.com", "127.0.0.1")
    with serving(answers_in_http2(b"two"), tls=h2) as server:
        for _ in range(3):
            got = fetch(speaker, "POST", server.url_of("hooks.example.com"), content=b"{}", timeout=2)
            assert (got.status, got.body, got.http_version) == (200, b"two", "HTTP/2")
    assert server.requests == [f"hooks.example.com:{server.port}".encode()] * 3
    assert server.visits == 1


def test_other_servers_are_spoken_to_in_http1(speaker: Client, tls: Callable[..., ssl.SSLContext]) -> None:
    with serving(answers(answer(b"one")), tls=tls()) as server:
        assert fetch(speaker, "GET", server.url, timeout=2).http_version == "HTTP/1.1"


def test_a_body_is_cut_in_http2_too(speaker: Client, h2: ssl.SSLContext) -> None:
    with serving(answers_in_http2(b"x" * 60_000), tls=h2) as server:
        for _ in range(2):
            got = fetch(speaker, "GET", server.url, timeout=2, max_body=1000)
            assert (got.body, got.truncated) == (b"x" * 1000, True)
    assert server.visits == 2


def test_requests_at_once_keep_each_its_own_deadline(speaker: Client, h2: ssl.SSLContext) -> None:
    """On a shared connection one that waits for another's read or handshake would come too late, or fail with it."""

    def took(timeout: float) -> float:
        began = time.monotonic()
        with pytest.raises(httpx.TimeoutException):
            fetch(speaker, "GET", server.url, timeout=timeout)
        return time.monotonic() - began

    timeouts = [2.5, 0.3, 0.3, 2.5, 0.3, 0.3]
    with serving(answers_in_http2(b"x", every=0.02), tls=h2) as server, ThreadPoolExecutor(6) as pool:
        for timeout, seconds in zip(timeouts, pool.map(took, timeouts), strict=True):
            assert timeout * 0.95 <= seconds <= timeout + 1.5
    assert server.visits == 6


def test_http2_can_be_left_out(ca_file: str, h2: ssl.SSLContext, names: NameServer) -> None:
    h2.set_alpn_protocols(["h2", "http/1.1"])
    with make_client(LOCAL, http2=False, ca_file=ca_file) as client, serving(answers(answer(b"one")), tls=h2) as server:
        assert fetch(client, "GET", server.url, timeout=2).http_version == "HTTP/1.1"


def test_without_the_extra_http1_is_spoken(
    ca_file: str, tls: Callable[..., ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"celery-jobs\[http2\]"):
        make_client(LOCAL, http2=True)
    both = tls()
    both.set_alpn_protocols(["h2", "http/1.1"])
    with make_client(LOCAL, ca_file=ca_file) as client, serving(answers(answer(b"one")), tls=both) as server:
        assert fetch(client, "GET", server.url, timeout=2).http_version == "HTTP/1.1"
