"""Assertions on the response to an HTTP job (semantics.md section 9). Pure: values, their JSON form, a check."""

from celery_jobs.assertions.answer import Answer
from celery_jobs.assertions.assertion import Assertion, check, parse_assertions, read_assertions

__all__ = ["Answer", "Assertion", "check", "parse_assertions", "read_assertions"]
