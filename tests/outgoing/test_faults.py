"""Each fault of a server, its name or its TLS has a reason of its own."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from celery_jobs.addresses import AddressPolicy
from celery_jobs.outgoing import Client, NameNotResolved, Reason, TlsFailed, fetch, make_client, reason_of
from tests.outgoing.servers import (
    LOCAL,
    answer,
    answers,
    closes_after,
    hangs_after_headers,
    refusing_port,
    resets,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.outgoing.names import NameServer
    from tests.outgoing.servers import Handler, Visit

    Tls = Callable[..., ssl.SSLContext]


def fault(client: Client, url: str, timeout: float = 2) -> httpx.HTTPError:
    """What fetching it raises."""
    with pytest.raises(httpx.HTTPError) as raised:
        fetch(client, "POST", url, content=b"{}", timeout=timeout)
    return raised.value


def test_a_refused_connection_is_a_connection_error(client: Client) -> None:
    with refusing_port() as port:
        error = fault(client, f"http://127.0.0.1:{port}/")
    assert isinstance(error, httpx.ConnectError)
    assert reason_of(error) is Reason.CONNECTION_ERROR


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(resets, id="resets"),
        pytest.param(closes_after(b""), id="closes"),
        pytest.param(closes_after(b"HTTP/1.1 200 O"), id="closes within the head"),
        pytest.param(closes_after(answer(b"half", Content_Length=10)), id="gives less than its length"),
        pytest.param(
            closes_after(answer(b"9\r\nhal", Content_Length=None, Transfer_Encoding="chunked")), id="half a chunk"
        ),
        pytest.param(closes_after(answer(b"zz\r\n", Content_Length=None, Transfer_Encoding="chunked")), id="no chunk"),
        pytest.param(closes_after(b"220 smtp.example.com ESMTP\r\n"), id="another protocol"),
        pytest.param(closes_after(answer(b"", Content_Length=-1)), id="a negative length"),
        pytest.param(
            closes_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), id="two lengths"
        ),
        pytest.param(closes_after(answer(b"plain", Content_Encoding="gzip")), id="not gzip"),
    ],
)
def test_an_answer_that_is_none_is_a_connection_error(handler: Handler, client: Client) -> None:
    with serving(handler) as server:
        assert reason_of(fault(client, server.url)) is Reason.CONNECTION_ERROR
    assert server.visits == 1, "it is the policy that retries"


def test_a_server_that_hangs_after_its_headers_is_a_timeout(client: Client) -> None:
    with serving(hangs_after_headers) as server:
        error = fault(client, server.url, timeout=0.3)
    assert isinstance(error, httpx.TimeoutException)
    assert reason_of(error) is Reason.TIMEOUT


def test_a_name_that_does_not_exist_is_a_dns_error(client: Client) -> None:
    error = fault(client, "http://nowhere.example.com/")
    assert isinstance(error, NameNotResolved)
    assert reason_of(error) is Reason.DNS_ERROR


def test_a_name_without_addresses_is_a_dns_error() -> None:
    with make_client(LOCAL, resolve=lambda *_, **__: []) as client:
        assert reason_of(fault(client, "http://hooks.example.com/")) is Reason.DNS_ERROR


def test_the_system_looks_names_up_by_default() -> None:
    with (
        make_client(AddressPolicy(allowed_hosts=("localhost",))) as client,
        serving(answers(answer(b"here"))) as server,
    ):
        assert fetch(client, "GET", server.url_of("localhost"), timeout=5).body == b"here"


def test_a_trusted_server_is_reached_by_its_name(trusting: Client, names: NameServer, tls: Tls) -> None:
    names.knows("hooks.example.com", "127.0.0.1")
    asked_for = []
    context = tls("hooks.example.com")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    with serving(answers(answer(b"safe")), tls=context) as server:
        assert fetch(trusting, "GET", server.url_of("hooks.example.com"), timeout=2).body == b"safe"
    assert asked_for == ["hooks.example.com"]


def test_one_request_after_another_shares_a_handshake(trusting: Client, tls: Tls) -> None:
    with serving(answers(answer(b"safe")), tls=tls()) as server:
        assert [fetch(trusting, "GET", server.url, timeout=2).body for _ in range(3)] == [b"safe"] * 3
    assert server.visits == 1


def test_a_certificate_that_nobody_trusts_is_an_ssl_error(trusting: Client, tls: Tls) -> None:
    with serving(answers(answer()), tls=tls(by=trustme.CA())) as server:
        error = fault(trusting, server.url)
    assert isinstance(error, TlsFailed)
    assert reason_of(error) is Reason.SSL_ERROR
    assert "certificate is refused" in str(error)
    assert not server.requests


def test_the_authority_of_the_tests_is_trusted_only_where_it_is_named(client: Client, tls: Tls) -> None:
    with serving(answers(answer()), tls=tls()) as server:
        assert reason_of(fault(client, server.url)) is Reason.SSL_ERROR


def test_a_certificate_of_yesterday_is_an_ssl_error(trusting: Client, authority: trustme.CA) -> None:
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1)).configure_cert(expired)
    with serving(answers(answer()), tls=expired) as server:
        error = fault(trusting, server.url)
    assert reason_of(error) is Reason.SSL_ERROR
    assert "expired" in str(error)


def test_a_certificate_of_another_host_is_an_ssl_error(trusting: Client, names: NameServer, tls: Tls) -> None:
    names.knows("hooks.example.com", "127.0.0.1")
    with serving(answers(answer()), tls=tls("other.example.com")) as server:
        error = fault(trusting, server.url_of("hooks.example.com"))
    assert reason_of(error) is Reason.SSL_ERROR
    assert "hooks.example.com" in str(error)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_before_1_2_is_an_ssl_error(trusting: Client, tls: Tls) -> None:
    old = tls()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(answers(answer()), tls=old) as server:
        assert reason_of(fault(trusting, server.url)) is Reason.SSL_ERROR


def test_a_server_without_tls_is_an_ssl_error(client: Client) -> None:
    def speaks_plainly(visit: Visit) -> None:
        visit.socket.recv(65_536)
        visit.send(answer(b"the client spoke TLS", 400))

    with serving(speaks_plainly) as server:
        error = fault(client, server.url.replace("http:", "https:"))
    assert reason_of(error) is Reason.SSL_ERROR


def test_the_environment_cannot_switch_verification_off(
    ca_file: str, names: NameServer, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    monkeypatch.setenv("CURL_CA_BUNDLE", ca_file)
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    with make_client(LOCAL, resolve=names.getaddrinfo) as client, serving(answers(answer()), tls=tls()) as server:
        assert reason_of(fault(client, server.url)) is Reason.SSL_ERROR


def test_what_fetch_does_not_raise_has_no_reason() -> None:
    assert reason_of(RuntimeError("a defect")) is None
    assert reason_of(socket.gaierror("another's")) is None
