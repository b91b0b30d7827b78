"""An app whose jobs are sealed with keys of the environment. The worker and the tests make it."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from cryptography.fernet import Fernet

import celery_jobs

CANARY = "canary-4111"
OLD, NEW = (f"{name}:{Fernet.generate_key().decode()}" for name in ("2025", "2026"))
PULL = "parcels"


def make_shop(broker_url: str, database_url: str, keys: list[str], **conf: Any) -> Celery:
    """The app, with these keys."""
    app = Celery("shop", broker=broker_url, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        jobs_database_url=database_url,
        jobs_database_timeout=10,
        jobs_encryption_keys=keys,
        jobs_queue_defaults={"retry_delays": [0.1]},
        jobs_queues={PULL: {"mode": "pull"}},
        jobs_http_allowed_addresses=["127.0.0.1"],
        jobs_promote_interval=1,
    )
    app.conf.update(conf)
    celery_jobs.install(app)

    @app.task(name="echo", shared=False)
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @app.task(name="second", shared=False, bind=True)
    def second(self: Any, card: str) -> str:
        """Fails at its first attempt."""
        if self.request.retries == 0:
            raise ValueError("not yet")
        return card

    @app.task(name="fails", shared=False)
    def fails(card: str) -> None:
        raise ValueError("declined")

    app.finalize()
    return app


def app() -> Celery:
    """The worker's."""
    given = os.environ
    return make_shop(given["SHOP_BROKER_URL"], given["SHOP_DATABASE_URL"], given["SHOP_KEYS"].split())
