"""Task ids of the callers' own: any text, kept as it is, and a clear error for one that has no room."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from kombu import Connection

from celery_jobs import InvalidJob, Jobs
from celery_jobs.plugin import plugin_of
from celery_jobs.recording import LONGEST_NAME, LONGEST_OF_AMQP, require_carried
from tests.apps import make_app
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery_jobs import Run

pytestmark = pytest.mark.xdist_group("callers")

IDS = {
    "slashes": "orders/2026/7",
    "unicode": "żółw-\U0001f422-名",
    "spaces": " a b ",
    "a line break": "a\nb\tc",
    "quotes": "a'b\"c\\d",
    "wildcards": "*[a-z]?%_",
    "formats": "%s %d {} {0} ${x}",
    "upper case of a UUID": "CE5092AE-1336-4835-B0CC-FFD91BFC5C0E",
    "a number": "42",
    "longest": "x" * LONGEST_NAME,
}


def ended(office: Celery, id: Any) -> Run:
    return wait_until(lambda: (run := Jobs(office).get(id)).has_ended and run)


@pytest.mark.parametrize("kind", IDS)
def test_an_id_is_the_same_for_celery_and_for_the_job(office: Celery, kind: str) -> None:
    id = IDS[kind]
    result = office.tasks["works_later"].apply_async((7,), task_id=id)
    assert result.id == id
    assert office.AsyncResult(id).get(timeout=30) == 7
    run = ended(office, id)
    assert (run.task_id, run.attempt_number, run.id) == (id, 3, result.job_id)
    assert [row.task_id for row in run.attempts] == [id] * 3
    again = Jobs(office).replay(id)
    assert ended(office, again.task_id).final_status == "success"


def test_an_empty_id_is_none(office: Celery) -> None:
    """As in Celery, which then makes one."""
    result = office.tasks["echo"].apply_async((7,), task_id="")
    assert (result.get(timeout=30), len(result.id)) == (7, 36)


def test_a_uuid_that_is_no_text_is_waited_for_and_revoked_as_in_celery(office: Celery) -> None:
    """Celery keeps its result under other bytes than under its text, so it stays what it is."""
    works, waits = uuid.uuid4(), uuid.uuid4()
    result = office.tasks["works_later"].apply_async((7,), task_id=works)
    assert (result.id, result.get(timeout=30), office.AsyncResult(works).get(timeout=30)) == (works, 7, 7)
    assert ended(office, works).task_id == str(works)
    held = office.tasks["echo"].apply_async((7,), task_id=waits, countdown=3600)
    office.control.revoke(waits)
    assert ended(office, waits).final_status == "cancelled"
    with pytest.raises(TaskRevokedError):
        held.get(timeout=30)


@pytest.mark.parametrize("field", ["task_id", "queue"])
def test_a_name_that_is_too_long_is_refused_before_anything_is_written(office: Celery, field: str) -> None:
    before = Jobs(office).count()
    with pytest.raises(InvalidJob, match=rf"{field}: at most 1,024 bytes are kept, not 1,025"):
        office.tasks["echo"].apply_async((1,), **{field: "ó" * (LONGEST_NAME // 2) + "x"})
    assert Jobs(office).count() == before


@pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
def test_a_foreign_message_whose_id_is_too_long_fails_alone(office: Celery) -> None:
    foreigner = Celery("foreign", broker=office.conf.broker_url, set_as_current=False)
    foreigner.conf.task_default_queue = "callers"
    before = Jobs(office).count()
    foreigner.send_task("echo", (1,), task_id="x" * (LONGEST_NAME + 1))
    foreigner.close()
    assert office.tasks["echo"].delay(2).get(timeout=30) == 2
    assert Jobs(office).count() == before + 1


def test_the_longest_names_have_room_in_postgresql(broker_url: str, new_postgresql_database: Any) -> None:
    """An index takes 2,704 bytes of a row, and these cannot be compressed."""
    app = make_app(broker_url, new_postgresql_database())
    letters = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(LONGEST_NAME // 3))
    jobs = Jobs(app)
    app.send_task("elsewhere", task_id=letters, queue=letters, idempotency_key=letters[:255])
    assert jobs.get(letters).queue == letters
    assert app.send_task(letters, idempotency_key=letters[:255]).job_id
    plugin_of(app).unchecked_db.dispose()
    app.close()


def test_rabbitmq_carries_ids_of_255_bytes_and_a_longer_one_is_refused_before_anything_is_written() -> None:
    driver = Connection("amqp://").transport.driver_type
    require_carried(driver, "x" * LONGEST_OF_AMQP)
    require_carried("redis", "x" * LONGEST_NAME)
    with pytest.raises(InvalidJob, match="task_id: RabbitMQ carries at most 255 bytes"):
        require_carried(driver, "ó" * 128)
