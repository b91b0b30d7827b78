"""The story of the ticket shop on Django: `python -m tests.examples.django_shop`, with Django's settings in place."""

from __future__ import annotations

import json
from typing import Any

import django
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment

from tests.examples.tickets import sells_a_seat, sells_a_seat_in_a_sandbox


def main() -> None:
    """Make the tables, and play the story; AssertionError where it goes another way."""
    django.setup()
    setup_test_environment()
    call_command("migrate", verbosity=0)
    client = Client()

    def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
        answer = client.generic(method, path, json.dumps(body), content_type="application/json")
        return answer.status_code, answer.json() if "json" in answer["content-type"] else None

    from shop import celery_app

    sells_a_seat(ask, celery_app)
    sells_a_seat_in_a_sandbox(ask, celery_app)


if __name__ == "__main__":
    main()
