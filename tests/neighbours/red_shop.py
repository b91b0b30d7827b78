"""A shop whose beat keeps its schedule in Redis, as the worker, beat and the tests load it."""

from __future__ import annotations

import os

from celery import Celery

import celery_jobs

SCHEDULE = {"close-the-books": {"task": "close_the_books", "schedule": 1.0, "args": [7]}}


def make_app(broker_url: str, database_url: str) -> Celery:
    app = Celery("shop", broker=broker_url, backend=broker_url, set_as_current=False)
    app.conf.update(
        jobs_database_url=database_url,
        jobs_database_timeout=10,
        jobs_promote_interval=1,
        jobs_redispatch_interval=2,
        beat_schedule=SCHEDULE,
        beat_scheduler="redbeat.RedBeatScheduler",
        beat_max_loop_interval=1,
        redbeat_redis_url=broker_url,
    )
    celery_jobs.install(app)

    @app.task(name="close_the_books", shared=False)
    def close_the_books(shop: int) -> int:
        return shop

    return app


if "SHOP_DATABASE_URL" in os.environ:
    app = make_app(os.environ["CELERY_BROKER_URL"], os.environ["SHOP_DATABASE_URL"])
