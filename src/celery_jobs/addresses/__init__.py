"""Where HTTP jobs and callbacks may go: URLs read strictly, addresses judged; no sockets."""

from __future__ import annotations

from celery_jobs.addresses.policy import AddressPolicy
from celery_jobs.addresses.urls import MOST_URL_CHARACTERS, Destination, parse_url

__all__ = ["MOST_URL_CHARACTERS", "AddressPolicy", "Destination", "parse_url"]
