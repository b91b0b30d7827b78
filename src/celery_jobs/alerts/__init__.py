"""Alerts: dead letters told to people, through Apprise (semantics.md section 8)."""

from __future__ import annotations

from celery_jobs.alerts.channels import Channels, Delivery
from celery_jobs.alerts.letter import Letter, letter_of
from celery_jobs.alerts.testing import send_test

__all__ = ["Channels", "Delivery", "Letter", "letter_of", "send_test"]
