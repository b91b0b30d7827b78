"""Django's settings, and Celery's among them. What differs from place to place comes from the environment."""

from __future__ import annotations

import os

from sqlalchemy import make_url

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///django-shop.sqlite3")

_url = make_url(DATABASE_URL)
_sqlite = {
    "ENGINE": "django.db.backends.sqlite3",
    # A transaction that reads before it writes would fail beside another writer.
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
}
_postgresql = {"ENGINE": "django.db.backends.postgresql", "USER": _url.username, "PASSWORD": _url.password}

DATABASES = {
    "default": {
        **(_sqlite if _url.drivername == "sqlite" else _postgresql),
        "NAME": _url.database,
        "HOST": _url.host,
        "PORT": _url.port,
    }
}

SECRET_KEY = os.environ.get("SECRET_KEY", "for a laptop")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["orders"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # no forms, so no protection of forms
ROOT_URLCONF = "shop.urls"
USE_TZ = True

# On a laptop another SQLite file; in production Redis or RabbitMQ.
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "sqla+sqlite:///broker.sqlite3")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_JOBS_DATABASE_URL = DATABASE_URL  # where the orders are: a transaction ends in one database
CELERY_JOBS_QUEUE_DEFAULTS = {"retry_delays": [1, 2]}  # seconds; in production rather the default
