"""One client a process: its connections are kept over jobs, and never shared with a child that a fork makes."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, finalize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.outgoing import Client
    from celery_jobs.plugin import Plugin

__all__ = ["client_of", "replaced"]


class _Clients:
    """The clients of this process, each closed with its app or at the end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: WeakKeyDictionary[Plugin, Client] = WeakKeyDictionary()
        self.closings: list[finalize[..., Plugin]] = []


_clients = _Clients()


def client_of(plugin: Plugin) -> Client:
    """The client of this process, made at its first use: with HTTP/2 where the extra is installed."""
    from celery_jobs.outgoing import make_client

    with _clients.lock:
        client = _clients.made.get(plugin)
        if client is None:
            client = _clients.made[plugin] = make_client(plugin.settings.address_policy)
            _clients.closings.append(finalize(plugin, client.close))
        return client


@contextmanager
def replaced(plugin: Plugin, client: Client) -> Iterator[None]:
    """Have another client make a plugin's requests for a while; it is closed at the end."""
    with _clients.lock:
        before = _clients.made.get(plugin)
        _clients.made[plugin] = client
    try:
        yield
    finally:
        with _clients.lock:
            _clients.made.pop(plugin, None)
            if before is not None:
                _clients.made[plugin] = before
        client.close()


def _forget() -> None:
    """In a forked child: the connections are its parent's to close, and another thread may have held the lock."""
    global _clients
    for closing in _clients.closings:
        closing.detach()
    _clients = _Clients()


os.register_at_fork(after_in_child=_forget)
