"""`self.retry` with everything that it takes: the next attempt is called as bare Celery would call it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from kombu.exceptions import OperationalError

from celery_jobs import Jobs, sending
from celery_jobs.services import make_service
from tests.callers.office import PLAIN, RETRIES
from tests.callers.test_options import comparable
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs import Run

pytestmark = pytest.mark.xdist_group("callers")


@pytest.fixture(scope="package")
def asked(open_office: Celery) -> dict[tuple[str, str], Any]:
    """A call of each way to retry, of bare Celery's task and of a job."""
    options = {"headers": {"theirs": "x"}, "time_limit": 50}
    return {
        (kind, how): open_office.tasks[name].apply_async((how,), **options)
        for how in RETRIES
        for kind, name in {"bare": PLAIN + "ask_again", "job": "ask_again"}.items()
    }


def told(result: Any) -> Any:
    """What the caller gets, the moments in it left out."""
    try:
        value = comparable(result.get(timeout=30), result)
    except Exception as error:
        return type(error).__name__, str(error).replace(result.id, "ID").replace(PLAIN, "")
    return {key: value[key] for key in value.keys() - {"eta", "properties"}}


def ended(office: Celery, result: Any) -> Run:
    return wait_until(lambda: (run := Jobs(office).get(result.id)).has_ended and run)


@pytest.mark.parametrize("how", RETRIES)
def test_a_retry_that_a_task_asks_for_is_called_as_bare_celery_would_call_it(
    office: Celery, asked: dict[tuple[str, str], Any], how: str
) -> None:
    assert told(asked["job", how]) == told(asked["bare", how])
    attempts = ended(office, asked["job", how]).attempts
    named = how in ("a queue", "an exchange")
    assert [row.queue for row in attempts] == ["callers", "callers.named" if named else "callers"][: len(attempts)]


def test_a_retry_that_does_not_throw_goes_on_and_its_value_is_the_last_attempts(office: Celery) -> None:
    """Bare Celery's caller hears of the first attempt's value; here it waits for the chain."""
    result = office.tasks["goes_on"].delay()
    assert result.get(timeout=30) == "attempt 2"
    assert [row.status for row in ended(office, result).attempts] == ["failed", "completed"]


def test_a_retry_that_a_task_asks_for_while_the_broker_is_away_is_kept(
    office: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bare Celery would reject the task: it is gone then."""
    refused: list[float] = []

    def refuse(*_: Any) -> None:
        refused.append(time.monotonic())
        raise OperationalError("the broker is away")

    with monkeypatch.context() as patch:
        result = office.tasks["ask_again"].apply_async(("nothing",), countdown=0.2)
        patch.setattr(sending, "_publish", refuse)
        wait_until(lambda: refused)
        run = wait_until(lambda: (run := Jobs(office).get(result.id)).attempt_number == 2 and run)
        assert run.status == "pending"
    sending.sender_of(office.celery_jobs).breaker.succeeded()
    wait_until(lambda: make_service(office.celery_jobs, "promoter").run_once() or ended_now(office, result))
    assert ended(office, result).final_status == "success"


def ended_now(office: Celery, result: Any) -> bool:
    return Jobs(office).get(result.id).has_ended
