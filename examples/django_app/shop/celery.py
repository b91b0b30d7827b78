"""The Celery app, made as Celery's documentation makes it for Django, and the one line more."""

from __future__ import annotations

import os

from celery import Celery

import celery_jobs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
celery_jobs.install(app)  # the one line
app.autodiscover_tasks()
