"""An app that HTTP jobs need no tasks of, and two tasks that take too long. The worker and the tests make it."""

from __future__ import annotations

import os
import time

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

import celery_jobs

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = "no-such-host.invalid"
"""A name that no server may ever know (RFC 6761)."""

QUEUES = {
    "once": {"retry_delays": []},
    "strict": {
        "retry_delays": [],
        "timeout": 2,
        "assertions": [{"type": "header", "name": "X-Shop", "equals": "open"}, {"type": "duration", "below_ms": 5000}],
    },
    "slow": {"retry_delays": [600]},
}


def make_app(broker_url: str, database_url: str) -> Celery:
    app = Celery("shop", broker=broker_url, backend=broker_url, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True
    app.conf.jobs_database_url = database_url
    app.conf.jobs_database_timeout = 10
    app.conf.jobs_queue_defaults = {"retry_delays": [0.1, 0.2]}
    app.conf.jobs_queues = QUEUES
    app.conf.jobs_http_allowed_addresses = ["127.0.0.1"]
    app.conf.jobs_http_allowed_hosts = [NOWHERE]
    app.conf.jobs_callback_secrets = [SECRET]
    app.conf.jobs_max_retry_after = 3600
    app.conf.jobs_redact = ["card", "x-token"]
    app.conf.update(jobs_promote_interval=1, jobs_redispatch_interval=1, jobs_reap_interval=1)
    celery_jobs.install(app)
    app.task(name="naps", shared=False)(naps)
    app.task(name="naps_on", shared=False)(naps_on)
    app.task(name="naps_by_itself", shared=False, soft_time_limit=60)(naps)
    app.finalize()
    return app


def naps(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def naps_on() -> None:
    """Does not heed its soft limit."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        time.sleep(60)


if "SHOP_BROKER_URL" in os.environ:
    app = make_app(os.environ["SHOP_BROKER_URL"], os.environ["SHOP_DATABASE_URL"])
