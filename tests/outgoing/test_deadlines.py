"""One deadline over everything: the name, the connection, TLS, what is sent, the headers, the body."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from celery_jobs.outgoing import Client, Reason, fetch, make_client, reason_of
from celery_jobs.outgoing.client import LEAST_LOOKUPS
from tests.outgoing.servers import (
    LOCAL,
    answer,
    answers,
    full_backlog,
    hangs_after_headers,
    reads_nothing,
    says_nothing,
    serving,
    trickles,
)
from tests.processes import wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.outgoing.names import NameServer
    from tests.outgoing.servers import Handler, Visit

TIMEOUT = 0.4
GRACE = 1.5
"""What a busy machine may add."""


@contextmanager
def cut_in_time(timeout: float = TIMEOUT) -> Iterator[None]:
    """The block raises a timeout, neither before the deadline nor much after it."""
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException) as raised:
        yield
    took = time.monotonic() - began
    assert reason_of(raised.value) is Reason.TIMEOUT
    assert timeout * 0.95 <= took <= timeout + GRACE


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(says_nothing, id="says nothing"),
        pytest.param(hangs_after_headers, id="hangs after its headers"),
        pytest.param(trickles(b"HTTP/1.1 200 OK\r\nX-Long: a", 0.03), id="trickles its headers"),
        pytest.param(trickles(answer(Content_Length=10**6) + b"x", 0.002), id="trickles its body"),
        pytest.param(trickles(answer(Content_Length=None) + b"x", 0.002), id="trickles without a length"),
        pytest.param(trickles(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 300, 0.001), id="trickles hints"),
    ],
)
def test_a_server_that_takes_its_time_is_cut_at_the_deadline(handler: Handler, client: Client) -> None:
    with serving(handler) as server, cut_in_time():
        fetch(client, "GET", server.url, timeout=TIMEOUT)


def test_a_request_that_is_not_read_is_cut_at_the_deadline(client: Client) -> None:
    with serving(reads_nothing) as server, cut_in_time():
        fetch(client, "POST", server.url, content=bytes(50_000_000), timeout=TIMEOUT)


def reads_slowly(visit: Visit) -> None:
    while visit.socket.recv(1000):
        time.sleep(0.01)


def test_a_request_that_is_read_slowly_is_cut_at_the_deadline(client: Client) -> None:
    with serving(reads_slowly) as server, cut_in_time():
        fetch(client, "POST", server.url, content=bytes(50_000_000), timeout=TIMEOUT)


def test_an_encrypted_request_that_is_read_slowly_is_cut_at_the_deadline(
    trusting: Client, tls: Callable[..., ssl.SSLContext]
) -> None:
    with serving(reads_slowly, tls=tls()) as server, cut_in_time():
        fetch(trusting, "POST", server.url, content=bytes(50_000_000), timeout=TIMEOUT)


def test_a_connection_that_is_not_taken_is_cut_at_the_deadline(client: Client) -> None:
    with full_backlog() as port, cut_in_time():
        fetch(client, "GET", f"http://127.0.0.1:{port}/", timeout=TIMEOUT)


def test_a_handshake_that_hangs_is_cut_at_the_deadline(client: Client) -> None:
    with serving(says_nothing) as server, cut_in_time():
        fetch(client, "GET", server.url.replace("http:", "https:"), timeout=TIMEOUT)


def test_a_handshake_that_trickles_is_cut_at_the_deadline(client: Client) -> None:
    def trickles_a_record(visit: Visit) -> None:
        for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03" + bytes(10_000):
            visit.send(bytes([byte]))
            time.sleep(0.02)

    with serving(trickles_a_record) as server, cut_in_time():
        fetch(client, "GET", server.url.replace("http:", "https:"), timeout=TIMEOUT)


def test_an_encrypted_body_that_trickles_is_cut_at_the_deadline(
    trusting: Client, tls: Callable[..., ssl.SSLContext]
) -> None:
    with serving(trickles(answer(Content_Length=10**6) + b"x", 0.002), tls=tls()) as server, cut_in_time():
        fetch(trusting, "GET", server.url, timeout=TIMEOUT)


def test_a_name_that_is_never_resolved_is_cut_at_the_deadline(client: Client, names: NameServer) -> None:
    names.never_answers("slow.example.com")
    with cut_in_time():
        fetch(client, "GET", "http://slow.example.com/", timeout=TIMEOUT)


def test_a_name_that_hangs_does_not_keep_others_from_being_looked_up(names: NameServer) -> None:
    names.knows("hooks.example.com", "127.0.0.1")
    names.never_answers("slow.example.com")
    with (
        make_client(LOCAL, max_connections=1, resolve=names.getaddrinfo) as client,
        serving(answers(answer())) as server,
    ):
        for _ in range(3):
            with cut_in_time(0.1):
                fetch(client, "GET", "http://slow.example.com/", timeout=0.1)
        assert fetch(client, "GET", server.url_of("hooks.example.com"), timeout=2).status == 200


def test_hanging_look_ups_are_bounded() -> None:
    """What hangs in the system's resolver cannot be ended, so no more than these are begun."""
    begun: list[str] = []
    let_go = threading.Event()

    def hangs(host: str, port: int, /, *, type: int) -> list[Any]:
        begun.append(host)
        let_go.wait(20)
        return []

    with make_client(LOCAL, max_connections=1, resolve=hangs) as client:

        def look_up() -> None:
            with cut_in_time(0.05):
                fetch(client, "GET", "http://slow.example.com/", timeout=0.05)

        while len(begun) < LEAST_LOOKUPS:  # a busy machine cuts some off before they begin
            look_up()
        for _ in range(2):
            look_up()
        assert len(begun) == LEAST_LOOKUPS
        let_go.set()
        wait_until(lambda: _reason(client, "http://slow.example.com/") is Reason.DNS_ERROR)


def _reason(client: Client, url: str, timeout: float = 0.5) -> Reason | None:
    with pytest.raises(httpx.HTTPError) as raised:
        fetch(client, "GET", url, timeout=timeout)
    return reason_of(raised.value)


def test_a_look_up_that_hangs_does_not_keep_a_process_from_ending() -> None:
    script = """
import time
from celery_jobs.addresses import AddressPolicy
from celery_jobs.outgoing import fetch, make_client, reason_of
client = make_client(AddressPolicy(), resolve=lambda *_, **__: time.sleep(60))
try:
    fetch(client, "GET", "http://slow.example.com/", timeout=0.1)
except Exception as error:
    print(reason_of(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "timeout\n"


def test_redirects_share_one_deadline(client: Client) -> None:
    def slowly(visit: Visit) -> None:
        while visit.request():
            time.sleep(0.15)
            visit.send(answer(status=302, Location="/again"))

    with serving(slowly) as server, cut_in_time():
        fetch(client, "GET", server.url, timeout=TIMEOUT, follow_redirects=True)


def test_a_kept_connection_has_the_deadline_of_its_new_request(client: Client) -> None:
    def once(visit: Visit) -> None:
        visit.request()
        visit.send(answer(b"one"))
        visit.request()
        visit.is_over()

    with serving(once) as server:
        assert fetch(client, "GET", server.url, timeout=20).body == b"one"
        with cut_in_time():
            fetch(client, "GET", server.url, timeout=TIMEOUT)
    assert server.visits == 1


def test_waiting_for_a_connection_counts() -> None:
    with (
        make_client(LOCAL, max_connections=1) as client,
        serving(says_nothing) as server,
        ThreadPoolExecutor(1) as other,
    ):
        first = other.submit(_reason, client, server.url, 1.5)
        wait_until(lambda: server.visits)
        with cut_in_time():
            fetch(client, "GET", server.url, timeout=TIMEOUT)
        assert first.result() is Reason.TIMEOUT
    assert server.visits == 1


def test_every_thread_keeps_its_own_deadline(client: Client) -> None:
    timeouts = [0.3, 2.5, 0.3, 0.3, 2.5, 0.3]

    def took(timeout: float) -> float:
        began = time.monotonic()
        assert _reason(client, server.url, timeout) is Reason.TIMEOUT
        return time.monotonic() - began

    with serving(trickles(answer(Content_Length=10**6) + b"x", 0.02)) as server, ThreadPoolExecutor(6) as pool:
        for timeout, seconds in zip(timeouts, pool.map(took, timeouts), strict=True):
            assert timeout * 0.95 <= seconds <= timeout + GRACE


def test_the_duration_is_that_of_the_whole_exchange(client: Client) -> None:
    def slowly(visit: Visit) -> None:
        visit.request()
        time.sleep(0.1)
        visit.send(answer(b"late"))

    with serving(slowly) as server:
        assert 100 <= fetch(client, "GET", server.url, timeout=2).duration_ms < 1000
