"""django-celery-results: Celery's results through Django's ORM on PostgreSQL, as its docs set it up (`django-db`)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command

from benchmarks.peers import bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.producer import Producer

__all__ = ["app", "prepare", "producer"]


def _configure() -> None:
    url = urlsplit(os.environ["BENCHMARK_DSN"])
    place = {"NAME": url.path.strip("/"), "USER": url.username, "HOST": url.hostname, "PORT": url.port}
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **place}},
        INSTALLED_APPS=["django_celery_results"],
        USE_TZ=True,
    )
    django.setup()


def prepare() -> None:
    """Make the tables."""
    call_command("migrate", verbosity=0)


@contextmanager
def producer() -> Iterator[Producer]:
    """`.delay()`."""
    yield bare.produce(app)


_configure()
app = bare.make_app(result_backend="django-db", result_extended=True)
bare.add_tasks(app)
