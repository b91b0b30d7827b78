"""A signed request says when it was sent by the database's clock, whatever its worker's says."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from celery_jobs import InvalidSignature, verify_callback
from tests.http.shop import SECRET

if TYPE_CHECKING:
    from celery_jobs.testing import Sandbox

URL = "https://api.example.com/"
WRONG = timedelta(minutes=10)
"""More than a receiver's tolerance."""


def test_a_signature_of_a_worker_with_a_wrong_clock_is_believed(sandbox: Sandbox) -> None:
    sandbox.advance(WRONG)
    sandbox.respond(URL, status=500)
    sandbox.respond(URL)
    sandbox.jobs.enqueue_http(URL, payload=7, sign=True)
    (run,) = sandbox.drain()
    assert run.final_status == "success"
    for request in sandbox.requests:
        headers = dict(request.headers)
        assert verify_callback(headers, request.body, SECRET, now=request.at.timestamp()) == 7
        with pytest.raises(InvalidSignature):
            verify_callback(headers, request.body, SECRET, now=time.time())
