"""The client of a process: one for all its threads, none that a fork has made two of; errors that travel."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from celery import Celery

import celery_jobs
from celery_jobs import HttpBusy, HttpFailed, HttpGone, NoRetry, RetryAfter
from celery_jobs.http import clients
from celery_jobs.http.clients import client_of
from celery_jobs.outgoing import fetch
from celery_jobs.plugin import plugin_of
from tests.outgoing.servers import answer, answers, serving

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin


@pytest.fixture
def plugin() -> Plugin:
    app = Celery("shop", set_as_current=False)
    app.conf.jobs_http_allowed_addresses = ["127.0.0.1"]
    celery_jobs.install(app)
    return plugin_of(app)


def test_threads_share_a_client(plugin: Plugin) -> None:
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: client_of(plugin), range(64)))
    assert len({id(client) for client in found}) == 1
    found[0].close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_has_a_client_of_its_own(plugin: Plugin) -> None:
    """Its parent's connection goes on as if nothing had been, and the child finds no lock held."""
    with serving(answers(answer(b"ok"))) as server:
        client = client_of(plugin)
        fetch(client, "GET", server.url, timeout=5)
        with clients._clients.lock:
            child = os.fork()
            if child == 0:
                mine = client_of(plugin)
                good = mine is not client and fetch(mine, "GET", server.url, timeout=5).body == b"ok"
                os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert fetch(client, "GET", server.url, timeout=5).body == b"ok"
        assert server.visits == 2
    client.close()


def test_a_client_is_closed_with_its_app(plugin: Plugin) -> None:
    app = Celery("other", set_as_current=False)
    celery_jobs.install(app)
    client = client_of(plugin_of(app))
    closing = clients._clients.closings[-1]
    closing()
    with pytest.raises(RuntimeError, match="the client is closed"):
        fetch(client, "GET", "https://example.com", timeout=1)
    app.close()


@pytest.mark.parametrize(
    "error",
    [
        HttpFailed("dns_error", "nobody knows it"),
        HttpFailed("http_server_error", "answered 500", 500),
        HttpGone("http_client_error", "answered 410", 410),
        HttpBusy("http_client_error", "answered 429", 429, 7.5),
    ],
    ids=repr,
)
def test_errors_go_through_pickle_and_result_backends(error: HttpFailed) -> None:
    backend = Celery("shop", set_as_current=False).backend
    for copy in (
        pickle.loads(pickle.dumps(error)),
        backend.exception_to_python(backend.prepare_exception(error, "json")),
    ):
        assert type(copy) is type(error)
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)


def test_what_cannot_help_and_what_can_wait_are_told_apart() -> None:
    gone, busy = HttpGone("http_client_error", "gone", 410), HttpBusy("http_client_error", "busy", 429, 3)
    assert isinstance(gone, NoRetry)
    assert isinstance(busy, RetryAfter)
    assert busy.seconds == 3
