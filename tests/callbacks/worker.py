"""The app that the worker process loads."""

from __future__ import annotations

from tests.callbacks.shop import app_of_the_worker

app = app_of_the_worker()
