"""Which addresses are allowed: the tables of those who were attacked before."""

from __future__ import annotations

import pickle
import re

import pytest

import celery_jobs
from celery_jobs import BlockedAddress, InvalidUrl
from celery_jobs.addresses import AddressPolicy, parse_url

DEFAULT = AddressPolicy()

REFUSED = {
    "private": ["10.0.0.0", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "loopback": ["127.0.0.1", "127.0.1.1", "127.255.255.255", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "0.255.255.255", "::"],
    "carrier": ["100.64.0.0", "100.64.0.1", "100.64.0.100", "100.127.255.254", "100.127.255.255"],
    "link_local": ["169.254.0.0", "169.254.45.1", "169.254.255.255", "fe80::1", "fe80::1%eth0", "febf::1"],
    "metadata": ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"],
    "metadata_v6": ["fd00:ec2::254", "fd20:ce::254"],
    "assignments": ["192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.255"],
    "documentation": ["192.0.2.0", "192.0.2.255", "198.51.100.65", "203.0.113.6", "2001:db8::1", "3fff::1"],
    "relays": ["192.88.99.1", "192.88.99.255"],
    "benchmarks": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::2", "ff02:0:0:0:0:0:0:2", "ff0e::1"],
    "reserved": [
        "240.0.0.1",
        "250.10.20.30",
        "255.255.255.255",
        "4000::1",
        "64:ff9c::1",
        "0:0:0:ffff::1",
        "100::1",
        "5f00::1",
    ],
    "compatible": ["::127.0.0.1", "0:0:0:ffff::1", "::8.8.8.8", "::169.254.169.254"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"],
    "nat64": ["64:ff9b::a9fe:a9fe", "64:ff9b::ac1c:5", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::", "2002:c000:201::1", "2002:a00:1::1", "2002:808:808::1"],
    "teredo": ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:1234:5678:9abc:def0:1234:5678"],
    "local_v6": ["fc00::1", "fd12:3456::1", "fdff:ffff::1", "fec0::1", "feff::1"],
}
ALLOWED = (
    *("8.8.8.8", "8.8.9.8", "1.1.1.1", "100.63.255.254", "100.128.0.1", "9.255.255.255", "11.0.0.0", "172.15.255.255"),
    *("172.32.0.1", "192.167.255.255", "192.169.0.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1"),
    *("198.17.255.255", "198.20.0.1", "223.255.255.255", "168.63.129.15", "168.63.129.17", "192.0.1.1", "1.0.0.1"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2620:fe::fe", "2a00:1450:4001:82a::200e", "2400:cb00::1"),
)


def test_a_last_dot_changes_nothing() -> None:
    with pytest.raises(BlockedAddress):
        DEFAULT.check(parse_url("http://127.0.0.1./"))


@pytest.mark.parametrize(
    "address", [pytest.param(one, id=f"{kind}-{one}") for kind in REFUSED for one in REFUSED[kind]]
)
def test_an_address_that_is_not_on_the_internet_is_refused(address: str) -> None:
    assert not DEFAULT.permits(address)
    if "%" not in address:
        with pytest.raises(BlockedAddress, match="is not allowed"):
            DEFAULT.check(parse_url(f"http://[{address}]/" if ":" in address else f"http://{address}/"))


@pytest.mark.parametrize("address", ALLOWED)
def test_an_address_of_the_internet_is_allowed(address: str) -> None:
    assert DEFAULT.permits(address)
    DEFAULT.check(parse_url(f"https://[{address}]/" if ":" in address else f"https://{address}/"))


@pytest.mark.parametrize(
    "spelling", ["[0:0:0:0:0:0:0:1]", "[0::1]", "[::0001]", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]"]
)
def test_another_spelling_of_an_ipv6_address_is_the_address_it_means(spelling: str) -> None:
    with pytest.raises(BlockedAddress):
        DEFAULT.check(parse_url(f"http://{spelling}/"))
    assert parse_url("http://[2606:4700:4700:0:0:0:0:1111]/").host == "2606:4700:4700::1111"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "ip6-localhost", "redis"),
        *("metadata.google.internal", "metadata.google.internal.", "vault.internal", "printer.local", "kubernetes"),
        *("kubernetes.default.svc", "api.default.svc.cluster.local", "router.lan", "nas.home.arpa", "x.onion"),
    ],
)
def test_a_name_that_is_never_public_is_refused_before_any_look_up(host: str) -> None:
    with pytest.raises(BlockedAddress):
        DEFAULT.check(parse_url(f"http://{host}/"))


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "internal.example.com", "mylocal.host"])
def test_a_name_that_only_resembles_one_is_allowed(host: str) -> None:
    DEFAULT.check(parse_url(f"http://{host}/"))


def test_an_address_in_the_list_is_allowed_whatever_it_is() -> None:
    policy = AddressPolicy(allowed_addresses=("10.0.1.0/24", "127.0.0.1", "fd00::/64", "::ffff:10.9.9.9"))
    for address in ("10.0.1.1", "127.0.0.1", "fd00::5", "::ffff:10.9.9.9"):
        assert policy.permits(address)
    for address in (
        "10.0.0.1",
        "10.0.2.1",
        "127.0.1.1",
        "fd00:1::5",
        "::ffff:10.0.1.1",
        "64:ff9b::10.0.1.1",
        "10.9.9.9",
    ):
        assert not policy.permits(address)


@pytest.mark.parametrize(
    ("address", "is_permitted"),
    [
        *(("8.8.8.8", True), ("8.8.9.8", True), ("10.0.0.1", False), ("10.0.1.1", True), ("172.16.0.1", False)),
        *(("172.16.1.1", True), ("192.168.0.1", False), ("192.168.1.1", True), ("127.0.0.1", False)),
        *(("127.255.255.255", False), ("127.0.1.1", True), ("::1", False), ("169.254.169.254", False)),
    ],
)
def test_networks_that_are_allowed_leave_their_neighbours_refused(address: str, is_permitted: bool) -> None:
    networks = ("8.8.9.0/24", "10.0.1.0/24", "172.16.1.0/24", "192.168.1.0/24", "127.0.1.0/24")
    assert AddressPolicy(allowed_addresses=networks).permits(address) is is_permitted


@pytest.mark.parametrize(
    ("allowed", "host", "is_named"),
    [
        ("api.corp.example", "api.corp.example", True),
        ("API.corp.example.", "api.corp.example", True),
        ("api.corp.example", "x.api.corp.example", False),
        (".corp.example", "api.corp.example", True),
        (".corp.example", "a.b.corp.example", True),
        (".corp.example", "corp.example", False),
        (".corp.example", "corp.example.evil.com", False),
        (".corp.example", "evilcorp.example", False),
        ("localhost", "localhost", True),
        ("bücher.example", "xn--bcher-kva.example", True),
    ],
)
def test_a_host_is_allowed_by_its_name_or_a_suffix(allowed: str, host: str, is_named: bool) -> None:
    policy = AddressPolicy(allowed_hosts=(allowed,))
    assert policy.names(host) is is_named
    assert policy.permits("10.1.2.3", host) is is_named
    assert not policy.permits("10.1.2.3")


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "127.0.0.1", "fd12::1"])
def test_an_allowed_host_may_be_in_inner_networks(address: str) -> None:
    policy = AddressPolicy(allowed_hosts=("redis",))
    policy.check(parse_url("http://redis/"))
    assert policy.permits(address, "redis")


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "0.0.0.0", "::"]
)
def test_an_allowed_host_does_not_open_what_gives_away_credentials(address: str) -> None:
    assert not AddressPolicy(allowed_hosts=(".corp.example",)).permits(address, "a.corp.example")
    assert AddressPolicy(allowed_addresses=(address,)).permits(address)


def test_a_blocked_port_is_refused_even_where_the_host_is_allowed() -> None:
    policy = AddressPolicy(allowed_addresses=("10.0.0.0/8",), allowed_hosts=("redis",), blocked_ports=(22, 443, 6379))
    for url in ("http://10.0.0.1:6379/", "http://redis:6379/", "http://example.com:22/", "https://example.com/"):
        with pytest.raises(BlockedAddress, match="jobs_http_blocked_ports"):
            policy.check(parse_url(url))
    policy.check(parse_url("http://redis:6380/"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"allowed_addresses": ("10.0.0.1/8",)}, "10.0.0.1/8"),
        ({"allowed_addresses": ("corp.example",)}, "corp.example"),
        ({"allowed_addresses": ("",)}, "''"),
        ({"allowed_addresses": ("10.0.0.0/33",)}, "10.0.0.0/33"),
        ({"allowed_hosts": ("",)}, "''"),
        ({"allowed_hosts": (".",)}, "'.'"),
        ({"allowed_hosts": ("*.corp.example",)}, "*.corp.example"),
        ({"allowed_hosts": ("10.0.0.1",)}, "10.0.0.1"),
        ({"allowed_hosts": ("http://a.com",)}, "http://a.com"),
        ({"allowed_hosts": ("a.com:80",)}, "a.com:80"),
        ({"blocked_ports": (0,)}, "0"),
        ({"blocked_ports": (65_536,)}, "65536"),
        ({"blocked_ports": ("80",)}, "'80'"),
        ({"blocked_ports": (True,)}, "True"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(setting: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        AddressPolicy(**setting)  # type: ignore[arg-type]


def test_a_refusal_names_the_host_as_written_and_what_would_allow_it() -> None:
    with pytest.raises(BlockedAddress) as refused:
        DEFAULT.check(parse_url("http://Printer.LOCAL/"))
    assert isinstance(refused.value, celery_jobs.JobsError)
    assert refused.value.host == "Printer.LOCAL"
    said = "the destination Printer.LOCAL is not allowed (jobs_http_allowed_hosts, jobs_http_allowed_addresses)"
    assert str(refused.value) == said


@pytest.mark.parametrize("error", [BlockedAddress("redis", "jobs_http_allowed_hosts"), InvalidUrl("port", "it is 0")])
def test_a_refusal_survives_the_way_to_a_result_store(error: Exception) -> None:
    """A task raises it; Celery makes it again of its arguments."""
    for made in (pickle.loads(pickle.dumps(error)), type(error)(*error.args)):
        assert (type(made), str(made), vars(made)) == (type(error), str(error), vars(error))
