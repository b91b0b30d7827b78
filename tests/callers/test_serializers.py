"""Serializers and compressions: arguments arrive as they were given, in each attempt, replayed and adopted too."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import kombu.compression
import pytest
from celery import Celery
from kombu.compression import get_encoder

from celery_jobs import InvalidJob, Jobs, PayloadNotSerializable
from celery_jobs.envelope import decode_body
from celery_jobs.plugin import plugin_of
from celery_jobs.store import reads
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery_jobs import Run

pytestmark = pytest.mark.xdist_group("callers")

PLAIN: dict[str, Any] = {"text": "żółw \U0001f422", "numbers": [1, 2.5, -3], "nothing": None, "nested": {"a": [{}]}}
RICH = {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "price": Decimal("1.10"), "id": UUID(int=7)}

ARGUMENTS: dict[str, Any] = {
    "json": {**PLAIN, **RICH},
    "yaml": {**PLAIN, "day": date(2026, 1, 2)},
    "msgpack": {**PLAIN, "bytes": b"\x00\xff"},
    "pickle": {**PLAIN, **RICH, "set": {1, 2}, "range": range(3)},
}
"""What each of them carries."""

KNOWN = ("gzip", "zlib", "bzip2", "lzma", "brotli", "zstd")
COMPRESSIONS = [name for name in KNOWN if name in kombu.compression._aliases]
"""Those whose packages are here."""


def ended(office: Celery, result: Any) -> Run:
    return wait_until(lambda: (run := Jobs(office).get(result.id)).has_ended and run)


@pytest.mark.parametrize("serializer", ARGUMENTS)
def test_arguments_arrive_in_each_attempt_and_in_a_replay(office: Celery, serializer: str) -> None:
    value = ARGUMENTS[serializer]
    result = office.tasks["compare"].apply_async((value, serializer), serializer=serializer, max_attempts=2)
    assert result.get(timeout=30) == "equal at attempt 2"
    run = ended(office, result)
    assert Jobs(office).arguments(run.id).args == (value, serializer)
    again = Jobs(office).replay(run.id)
    assert office.AsyncResult(again.task_id).get(timeout=30) == "equal at attempt 2"


@pytest.mark.parametrize("serializer", ARGUMENTS)
def test_arguments_of_a_foreign_producer_arrive_in_each_attempt(office: Celery, serializer: str) -> None:
    foreigner = Celery("foreign", broker=office.conf.broker_url, set_as_current=False)
    foreigner.conf.task_default_queue = "callers"
    call = (ARGUMENTS[serializer], serializer)
    sent = foreigner.send_task("compare", call, serializer=serializer, compression="gzip", ignore_result=False)
    foreigner.close()
    run = wait_until(lambda: next((run for run in Jobs(office).list(limit=9) if run.task_id == sent.id), None))
    assert office.AsyncResult(sent.id).get(timeout=30) == "equal at attempt 2"
    assert Jobs(office).get(run.id).attempt_number == 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compressed_message_is_compressed_when_it_is_sent_and_stored_as_it_was(
    office: Celery, compression: str
) -> None:
    value = {**PLAIN, "long": "x" * 10_000}
    result = office.tasks["works_later"].apply_async((value,), compression=compression)
    assert result.get(timeout=30) == value
    message = reads.message_of(plugin_of(office).db, result.job_id)
    assert message is not None
    assert message.compression == compression
    assert len(message.body) > 10_000
    assert decode_body(plugin_of(office), message)[0] == [value]
    assert get_encoder(compression)


def test_a_compression_that_is_unknown_is_refused_before_anything_is_written(office: Celery) -> None:
    before = Jobs(office).count()
    with pytest.raises(InvalidJob, match="compression: 'shrink' is not known here"):
        office.tasks["echo"].apply_async((1,), compression="shrink")
    assert Jobs(office).count() == before


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack"])
def test_what_a_serializer_cannot_say_is_refused_before_anything_is_written(office: Celery, serializer: str) -> None:
    before = Jobs(office).count()
    with pytest.raises(PayloadNotSerializable, match=serializer):
        office.tasks["echo"].apply_async((object(),), serializer=serializer)
    assert Jobs(office).count() == before
