"""The address that is connected to is the one that was checked, whatever the name servers say."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import psutil
import pytest

from celery_jobs import BlockedAddress, InvalidUrl
from celery_jobs.addresses import AddressPolicy, parse_url
from celery_jobs.outgoing import Client, Reason, fetch, make_client, reason_of
from celery_jobs.outgoing.deadline import Deadline
from celery_jobs.outgoing.machine import Machine, is_own
from celery_jobs.outgoing.network import CheckedNetwork, Lookups
from tests.outgoing.servers import LOCAL, answer, answers, full_backlog, header, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.outgoing.names import NameServer
    from tests.outgoing.servers import Server

PUBLIC = "192.0.43.7"
"""An address of the Internet, to which nothing is sent here."""


@pytest.fixture
def secret() -> Iterator[Server]:
    """What the guard is for: a server inside that answers everybody."""
    with serving(answers(answer(b"credentials"))) as server:
        yield server


def blocked(client: Client, url: str) -> BlockedAddress:
    with pytest.raises(BlockedAddress) as refused:
        fetch(client, "GET", url, timeout=2)
    assert reason_of(refused.value) is Reason.BLOCKED_ADDRESS
    return refused.value


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254", "0.0.0.0"]
)
def test_inner_destinations_are_refused_without_a_look_up(
    host: str, strict: Client, names: NameServer, secret: Server
) -> None:
    blocked(strict, f"http://{host}:{secret.port}/")
    assert (names.look_ups, secret.visits) == ([], 0)


@pytest.mark.parametrize("spelling", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0", "①②⑦.⓪.⓪.①"])
def test_odd_spellings_reach_nothing(spelling: str, client: Client, secret: Server) -> None:
    with pytest.raises(InvalidUrl) as refused:
        fetch(client, "GET", f"http://{spelling}:{secret.port}/", timeout=2)
    assert reason_of(refused.value) is Reason.INVALID_URL
    assert secret.visits == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        [PUBLIC, "::1"],
        ["2606:4700:4700::1111", "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1"],
    ],
)
def test_a_name_with_an_inner_address_among_its_own_is_refused(
    addresses: list[str], strict: Client, names: NameServer, secret: Server
) -> None:
    names.knows("evil.example.com", *addresses)
    error = blocked(strict, secret.url_of("evil.example.com"))
    assert secret.visits == 0
    assert not any(address in str(error) for address in addresses), "it tells what is inside"
    assert error.host == "evil.example.com"


def test_a_name_that_points_inside_is_refused(strict: Client, names: NameServer, secret: Server) -> None:
    names.knows("vault.internal", "127.0.0.1")
    names.points("evil.example.com", "vault.internal")
    blocked(strict, secret.url_of("evil.example.com"))
    assert secret.visits == 0


def test_a_name_that_changes_its_address_is_asked_once(names: NameServer, secret: Server) -> None:
    """DNS rebinding: the first answer passes the check, the second would be the one that is connected to."""
    names.changes("evil.example.com", "127.0.0.2", "127.0.0.1")
    only_the_first = AddressPolicy(allowed_addresses=("127.0.0.2",))
    with (
        make_client(only_the_first, resolve=names.getaddrinfo) as client,
        serving(answers(answer(b"checked")), host="127.0.0.2", port=secret.port),
    ):
        assert fetch(client, "GET", secret.url_of("evil.example.com"), timeout=2).body == b"checked"
    assert names.look_ups == ["evil.example.com"]
    assert names.questions["evil.example.com", "A"] == 1
    assert secret.visits == 0


def test_the_next_connection_asks_and_checks_again(names: NameServer, secret: Server) -> None:
    names.changes("evil.example.com", "127.0.0.2", "127.0.0.1")
    only_the_first = AddressPolicy(allowed_addresses=("127.0.0.2",))
    closing = answers(answer(b"checked", Connection="close"))
    with (
        make_client(only_the_first, resolve=names.getaddrinfo) as client,
        serving(closing, host="127.0.0.2", port=secret.port) as server,
    ):
        assert fetch(client, "GET", secret.url_of("evil.example.com"), timeout=2).body == b"checked"
        server.close()
        blocked(client, secret.url_of("evil.example.com"))
    assert names.look_ups == ["evil.example.com"] * 2
    assert secret.visits == 0


def test_the_name_is_sent_to_the_checked_address(client: Client, names: NameServer) -> None:
    names.knows("hooks.example.com", "127.0.0.3")
    with serving(answers(answer()), host="127.0.0.3") as server:
        fetch(client, "GET", server.url_of("HOOKS.Example.com."), timeout=2)
    assert header(server.requests[0], "host") == f"hooks.example.com:{server.port}"


def test_the_next_address_is_tried_when_one_refuses(client: Client, names: NameServer) -> None:
    names.knows("hooks.example.com", "127.0.0.2", "127.0.0.3")
    with serving(answers(answer(b"second")), host="127.0.0.3") as server:
        assert fetch(client, "GET", server.url_of("hooks.example.com"), timeout=2).body == b"second"
    assert names.look_ups == ["hooks.example.com"]


def test_the_next_address_is_tried_when_one_does_not_answer(client: Client, names: NameServer) -> None:
    names.knows("hooks.example.com", "127.0.0.2", "127.0.0.3")
    with full_backlog("127.0.0.2") as port, serving(answers(answer(b"second")), host="127.0.0.3", port=port) as server:
        assert fetch(client, "GET", server.url_of("hooks.example.com"), timeout=1).body == b"second"


def test_an_allowed_host_is_reached_inside(names: NameServer, secret: Server) -> None:
    names.knows("redis", "127.0.0.1")
    with make_client(AddressPolicy(allowed_hosts=("redis",)), resolve=names.getaddrinfo) as client:
        assert fetch(client, "GET", secret.url_of("redis"), timeout=2).body == b"credentials"
        blocked(client, secret.url)


def test_a_blocked_port_is_refused_wherever_it_is(names: NameServer, secret: Server) -> None:
    names.knows("redis", "127.0.0.1")
    policy = AddressPolicy(("127.0.0.0/8",), ("redis",), blocked_ports=(secret.port,))
    with make_client(policy, resolve=names.getaddrinfo) as client:
        blocked(client, secret.url)
        blocked(client, secret.url_of("redis"))
    assert secret.visits == 0


class Internet(AddressPolicy):
    """Takes every address for one of the Internet, as if this machine had such an address."""

    def permits(self, address: str, host: str | None = None) -> bool:
        return True


def test_a_public_address_of_this_machine_is_refused(names: NameServer, secret: Server) -> None:
    """What listens here trusts who comes from here, whatever the firewall keeps from others."""
    names.knows("evil.example.com", "127.0.0.1")
    with make_client(Internet(), resolve=names.getaddrinfo) as client:
        blocked(client, secret.url_of("evil.example.com"))
        assert secret.visits == 0
    with make_client(Internet(allowed_addresses=("127.0.0.1",)), resolve=names.getaddrinfo) as client:
        assert fetch(client, "GET", secret.url_of("evil.example.com"), timeout=2).status == 200


def test_the_addresses_of_this_machine_are_known() -> None:
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    assert "127.0.0.1" in own
    assert all(is_own(address) for address in own if "%" not in address)
    assert not is_own(PUBLIC)
    assert not is_own("2606:4700:4700::1111")


def network(policy: AddressPolicy, url: str, **machine: Any) -> CheckedNetwork:
    made = Machine(Lookups(socket.getaddrinfo, 1).addresses, **machine)
    return CheckedNetwork(parse_url(url), policy, made, Deadline(time.monotonic() + 5))


class Forgetful(AddressPolicy):
    """Permits at first and then no more: what was connected to is not what was asked for."""

    asked = 0

    def permits(self, address: str, host: str | None = None) -> bool:
        Forgetful.asked += 1
        return Forgetful.asked == 1


def test_the_peer_is_checked_again_after_connecting(secret: Server) -> None:
    with pytest.raises(BlockedAddress):
        network(Forgetful(), secret.url, is_own=lambda _: False).connect_tcp("127.0.0.1", secret.port)
    assert Forgetful.asked == 2


def test_a_connection_is_made_to_its_own_destination_only(secret: Server) -> None:
    with pytest.raises(BlockedAddress):
        network(LOCAL, "http://127.0.0.2/").connect_tcp("127.0.0.1", secret.port)
    assert secret.visits == 0


def test_sockets_of_the_file_system_are_refused() -> None:
    with pytest.raises(BlockedAddress):
        network(LOCAL, "http://127.0.0.1/").connect_unix_socket("/var/run/docker.sock")


def test_of_a_name_with_hundreds_of_addresses_a_few_are_tried(names: NameServer) -> None:
    tried: list[str] = []

    class Counting(AddressPolicy):
        def lists(self, address: str, host: str | None = None) -> bool:
            tried.append(address)
            return True

    names.knows("many.example.com", *(f"127.0.1.{number}" for number in range(1, 100)))
    with make_client(Counting(), resolve=names.getaddrinfo) as client, pytest.raises(httpx.ConnectError):
        fetch(client, "GET", "http://many.example.com:9/", timeout=2)
    assert len(set(tried)) == 99, "each is checked"


def test_httpcore_connects_through_our_network_only(
    client: Client, secret: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam: were httpcore to connect by itself, nothing would be checked."""
    made: list[tuple[str, int]] = []
    connect = CheckedNetwork.connect_tcp

    def noted(self: CheckedNetwork, host: str, port: int, *args: Any, **given: Any) -> httpcore.NetworkStream:
        made.append((host, port))
        return connect(self, host, port, *args, **given)

    monkeypatch.setattr(CheckedNetwork, "connect_tcp", noted)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", lambda *_, **__: pytest.fail("it connects by itself"))
    assert fetch(client, "GET", secret.url, timeout=2).status == 200
    assert made == [("127.0.0.1", secret.port)]
