"""Its settings, as Django's documentation and Celery's have them."""

from __future__ import annotations

import os

from sqlalchemy import make_url

SECRET_KEY = "for tests"
TIME_ZONE = "America/Chicago"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat", "django_celery_results"]
MIGRATION_MODULES = dict.fromkeys(("contenttypes", "django_celery_beat", "django_celery_results"))  # tables at once
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_url = make_url(os.environ["JOBS_DATABASE_URL"])
_of_sqlite = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20}}
_of_postgres = {"ENGINE": "django.db.backends.postgresql", "USER": _url.username, "PASSWORD": _url.password}
DATABASES = {
    "default": {
        **(_of_sqlite if _url.drivername == "sqlite" else _of_postgres),
        "NAME": _url.database,
        "HOST": _url.host,
        "PORT": _url.port,
    }
}

CELERY_BROKER_URL = os.environ["CELERY_BROKER_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BEAT_SCHEDULE = {"close-the-books": {"task": "works_later", "schedule": 1.0, "args": (7,)}}
CELERY_JOBS_DATABASE_URL = os.environ["JOBS_DATABASE_URL"]
CELERY_JOBS_DATABASE_TIMEOUT = 10
CELERY_JOBS_QUEUE_DEFAULTS = {"retry_delays": [0.1]}
CELERY_JOBS_QUEUES = {"patient": {"retry_delays": [3600]}}
CELERY_JOBS_PROMOTE_INTERVAL = 1
