"""Requests to other people's servers: to checked addresses only, within one deadline, with a bounded answer."""

from __future__ import annotations

from celery_jobs.outgoing.client import Client, make_client
from celery_jobs.outgoing.faults import NameNotResolved, Reason, TlsFailed, reason_of
from celery_jobs.outgoing.fetching import MOST_BODY_BYTES, MOST_REDIRECTS, Response, check_headers, fetch
from celery_jobs.outgoing.machine import Machine

__all__ = [
    "MOST_BODY_BYTES",
    "MOST_REDIRECTS",
    "Client",
    "Machine",
    "NameNotResolved",
    "Reason",
    "Response",
    "TlsFailed",
    "check_headers",
    "fetch",
    "make_client",
    "reason_of",
]
