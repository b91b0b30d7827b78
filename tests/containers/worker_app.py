"""The worker's app: pytest-celery fills in the tasks, the app's name and the configuration, and puts it into /app."""

from __future__ import annotations

import os

from celery import Celery

import celery_jobs

imports = None

app = Celery("celery_test_app")
config = None

if config:
    app.config_from_object(config)
    # The configuration is the test's; the database's address is another one inside a container.
    app.conf.update(jobs_database_url=os.environ["JOBS_DATABASE_URL"])
    celery_jobs.install(app)
