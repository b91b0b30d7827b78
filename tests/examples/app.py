"""The example's app with the waits of a test: the worker and the tests load it."""

from __future__ import annotations

from webhooks.app import QUEUE, app

__all__ = ["app"]

app.conf.jobs_queues = {QUEUE: {"retry_delays": [0.2, 0.2], "timeout": 4}}
app.conf.jobs_database_timeout = 10
