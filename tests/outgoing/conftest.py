"""A name server, an authority for certificates, and clients that may reach this machine."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from celery_jobs.addresses import AddressPolicy
from celery_jobs.outgoing import Client, make_client
from tests.outgoing.names import NameServer, name_server
from tests.outgoing.servers import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOSTS = ("127.0.0.1", "127.0.0.2", "hooks.example.com")


@pytest.fixture
def names() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def client(names: NameServer) -> Iterator[Client]:
    """May reach 127.0.0.0/8 besides the Internet."""
    with make_client(LOCAL, http2=False, resolve=names.getaddrinfo) as made:
        yield made


@pytest.fixture
def strict(names: NameServer) -> Iterator[Client]:
    """As it is by default: nothing of this machine or its networks."""
    with make_client(AddressPolicy(), resolve=names.getaddrinfo) as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """A server's side of TLS: with a good certificate for the hosts of the tests, or for others."""

    def make(*hosts: str, by: trustme.CA = authority) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        by.issue_cert(*(hosts or HOSTS)).configure_cert(context)
        return context

    return make


@pytest.fixture
def trusting(ca_file: str, names: NameServer) -> Iterator[Client]:
    """Trusts the authority of the tests, and may reach 127.0.0.0/8."""
    with make_client(LOCAL, http2=False, ca_file=ca_file, resolve=names.getaddrinfo) as made:
        yield made
