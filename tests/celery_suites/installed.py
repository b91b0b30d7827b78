"""The pytest plugin of our side: every Celery app of Celery's tests has the plugin, and its rows are real."""

from __future__ import annotations

import json
import os
from typing import Any
from unittest.mock import NonCallableMock

from celery import Celery
from celery.app import defaults

import celery_jobs
from celery_jobs.sending import Sender

SETTINGS = "CELERY_SUITES_SETTINGS"
"""Variable: our settings as JSON, the migrated jobs database among them."""

_NOTHING = {"connection_errors": (), "channel_errors": (), "recoverable_connection_errors": (), "alt": ()}
_CONNECTED = {**_NOTHING, "connect_timeout": 1.0}
"""What a connection of kombu's has and the Mock of one has not."""


def pytest_configure() -> None:
    # Defaults, since the tests compare and replace what an app is configured with.
    defaults.DEFAULTS.update(json.loads(os.environ[SETTINGS]))
    _install_with_each_app()
    _let_mocks_be_connected()


def _install_with_each_app() -> None:
    make = Celery.__init__

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        celery_jobs.install(self)

    Celery.__init__ = __init__


def _let_mocks_be_connected() -> None:
    """Many tests hand a Mock over as the producer: recorded and published it is as with any other."""
    connect = Sender.connect

    def connect_mocks_too(self: Sender, producer: Any) -> None:
        if isinstance(producer, NonCallableMock):
            given = vars(producer.connection)
            producer.connection.configure_mock(**{k: v for k, v in _CONNECTED.items() if k not in given})
        connect(self, producer)

    Sender.connect = connect_mocks_too  # type: ignore[method-assign]
