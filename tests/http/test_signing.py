"""A signed request says when it was sent by the database's clock, whatever its worker's says."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from celery_jobs import InvalidSignature, verify_callback
from tests.http.shop import SECRET
from tests.outgoing.servers import answer, answers, header, serving

if TYPE_CHECKING:
    from celery_jobs.testing import Sandbox

WRONG = timedelta(minutes=10)
"""More than a receiver's tolerance."""


def test_a_signature_of_a_worker_with_a_wrong_clock_is_believed(sandbox: Sandbox) -> None:
    sandbox.advance(WRONG)
    with serving(answers(answer(b"", 500), answer(b"ok"))) as server:
        sandbox.jobs.enqueue_http(server.url, payload=7, sign=True)
        (run,) = sandbox.drain()
    assert run.final_status == "success"
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        headers = {name: header(head, name) or "" for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        assert verify_callback(headers, body, SECRET, now=sandbox.now.timestamp()) == 7
        with pytest.raises(InvalidSignature):
            verify_callback(headers, body, SECRET, now=time.time())
