"""what_if: which failures of a trial without retries the policies of now would have retried, and when first."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Reject, SoftTimeLimitExceeded

from celery_jobs import Exponential, Jobs, NoRetry, RetryAfter
from celery_jobs.plugin import plugin_of
from celery_jobs.store import chains
from celery_jobs.store.rows import Failure
from celery_jobs.testing import Sandbox
from celery_jobs.what_if import Forecast
from tests.apps import make_app
from tests.jobs.conftest import ADD, bury, claim, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from celery_jobs.runs import Run
    from celery_jobs.store.db import Database

TRIAL = {"retries_enabled": False}
HERE = __name__


class Broken(Exception):
    pass


class Hopeless(Broken):
    pass


@pytest.fixture
def database_url(new_sqlite_database: Callable[[], str]) -> str:
    """One is enough here: tests/store counts on both."""
    return new_sqlite_database()


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    """A trial: no queue but one retries."""
    app = new_app(
        jobs_queue_defaults=TRIAL,
        jobs_queues={
            "bold": {"retries_enabled": True, "retry_delays": [5, 5]},
            "slow": {**TRIAL, "retry_policy": Exponential(600, attempts=3, jitter=True)},
            "never": {**TRIAL, "retry_delays": []},
        },
    )

    @app.task(name="trial.own", shared=False, retry_delays=[7], no_retry_for=(Hopeless,))
    def own(*_: Any) -> None: ...

    @app.task(name="trial.auto", shared=False, autoretry_for=(Broken,), dont_autoretry_for=(Hopeless,), max_retries=2)
    def auto(*_: Any) -> None: ...

    @app.task(name="trial.never", shared=False, max_retries=0)
    def never(*_: Any) -> None: ...

    app.tasks  # noqa: B018  evaluates the tasks
    return app


def fail(doors: Jobs, task: str, kind: str, reason: str = "exception", retries: int = 0, **options: Any) -> str:
    """A run that failed, after so many of Celery's own retries."""
    db = plugin_of(doors.app).db
    id = original = doors.enqueue(task, (len(kind),), **options).id
    for _ in range(retries):
        again = chains.retry(db, claim(db, id), Failure("exception", kind, "no"), chains.Next(by_policy=False), 5)
        assert isinstance(again, chains.Retried)
        id = again.job_id
    bury(db, id, Failure(reason, kind, "no"))
    return original


def only(doors: Jobs, **options: Any) -> Forecast:
    (forecast,) = doors.what_if(**options).forecasts
    return forecast


def test_the_defaults_retry_after_1_30_and_180_minutes(doors: Jobs) -> None:
    fail(doors, ADD, "ValueError")
    assert only(doors) == Forecast(
        "celery", ADD, runs=1, failed=1, retried=1, attempts=3, least_wait=60.0, most_wait=60.0
    )


LEVELS: list[tuple[str, dict[str, Any], int, tuple[float | None, float | None]]] = [
    (ADD, {"queue": "slow"}, 2, (300, 600)),
    ("trial.own", {}, 1, (7, 7)),
    ("trial.own", {"queue": "slow"}, 1, (7, 7)),
    ("trial.own", {"retry_delays": [9, 9, 9, 9]}, 4, (9, 9)),
    ("trial.own", {"max_attempts": 3}, 2, (7, 7)),
    (ADD, {"max_attempts": 1}, 0, (None, None)),
    (ADD, {"queue": "never"}, 0, (None, None)),
]
"""Of a task and a call's options: the attempts more, and the first wait."""


def test_the_job_goes_before_the_task_the_task_before_its_queue(doors: Jobs, db: Database) -> None:
    for task, options, attempts, waits in LEVELS:
        id = fail(doors, task, "ValueError", **options)
        found = only(doors)
        assert (found.attempts, (found.least_wait, found.most_wait)) == (attempts, waits), (task, options)
        assert (found.retried, found.dead_lettered) == ((1, 0) if attempts else (0, 1))
        doors.delete(id)


KINDS = [
    (ADD, "celery_jobs.errors.NoRetry", "no_retry", 0, False),
    (ADD, "celery.exceptions.Reject", "no_retry", 0, False),
    (ADD, "celery_jobs.errors.HttpGone", "http_client_error", 0, False),
    (ADD, "celery_jobs.errors.HttpFailed", "http_server_error", 0, True),
    (ADD, "celery.exceptions.SoftTimeLimitExceeded", "timeout", 0, True),
    (ADD, "TimeLimitExceeded", "timeout", 0, True),
    (ADD, "WorkerLost", "worker_lost", 0, False),
    (ADD, "", "unknown_task", 0, False),
    (ADD, "", "undecodable", 0, False),
    ("not.here", f"{HERE}.Broken", "exception", 9, True),
    # What the task says now goes before what it said then; of a class that is not loaded the record is believed.
    ("trial.own", f"{HERE}.Hopeless", "exception", 0, False),
    ("trial.own", f"{HERE}.Broken", "no_retry", 0, True),
    (ADD, f"{HERE}.Hopeless", "exception", 0, True),
    (ADD, f"{HERE}.Gone", "no_retry", 0, False),
    (ADD, "not.loaded.Gone", "exception", 0, True),
    # Celery's own retries: what gave up is not begun again.
    ("trial.auto", f"{HERE}.Broken", "exception", 0, False),
    ("trial.auto", f"{HERE}.Hopeless", "exception", 0, True),
    ("trial.never", "ValueError", "exception", 0, True),
    ("trial.auto", "ValueError", "exception", 1, True),
    ("trial.auto", "ValueError", "exception", 2, False),
    (ADD, "celery.exceptions.MaxRetriesExceededError", "exception", 1, False),
]
"""Of a task, the class and reason of its last failure, and Celery's own retries before it: whether it is retried."""


def test_a_failure_is_judged_by_the_class_of_its_last_error(doors: Jobs) -> None:
    for number, (task, kind, reason, retries, _) in enumerate(KINDS):
        fail(doors, task, kind, reason, retries, queue=f"q{number:02}")
    found = doors.what_if().forecasts
    assert [(one.task, one.failed, one.retried, one.dead_lettered) for one in found] == [
        (task, 1, int(retried), int(not retried)) for task, *_, retried in KINDS
    ]


def test_nothing_is_imported_to_know_an_error(doors: Jobs) -> None:
    fail(doors, ADD, "this.Zen")
    assert only(doors).retried == 1
    assert "this" not in sys.modules


def test_queues_that_retry_are_counted_beside_and_only_their_duplicates_tell(doors: Jobs, db: Database) -> None:
    for _ in range(2):
        bury(db, doors.enqueue(ADD, (1,), queue="bold").id)
    fail(doors, ADD, "ValueError")
    fail(doors, ADD, "celery_jobs.errors.NoRetry", "no_retry", retry_delays=[90, 90])
    fail(doors, ADD, "KeyError", retry_delays=[90, 90])
    succeed(db, doors.enqueue(ADD, (len("KeyError"),)).id)
    found = doors.what_if()
    assert found.forecasts == (
        Forecast("bold", ADD, runs=2, duplicates=1),
        Forecast(
            "celery",
            ADD,
            runs=4,
            failed=3,
            retried=2,
            attempts=3 + 2,
            dead_lettered=1,
            got_over=1,
            duplicates=1,
            least_wait=60.0,
            most_wait=90.0,
        ),
    )
    total = found.total
    assert (total.queue, total.task, total.runs, total.failed, total.attempts) == ("all", None, 6, 3, 5)
    assert (total.duplicates, total.least_wait, total.most_wait) == (2, 60, 90)
    assert [one.queue for one in doors.what_if(queue="bold").forecasts] == ["bold"]


def test_what_a_call_said_that_fits_the_settings_no_more_is_judged_by_the_defaults(
    doors: Jobs, new_app: Callable[..., Celery]
) -> None:
    fail(doors, ADD, "ValueError", max_attempts=3)
    changed = Jobs(new_app(jobs_queue_defaults={**TRIAL, "retry_delays": []}))
    assert (only(changed).attempts, only(changed).least_wait) == (3, 60)


def test_a_moment_may_be_naive_and_a_limit_has_bounds(doors: Jobs) -> None:
    assert doors.what_if(datetime.now() - timedelta(days=2)).since.tzinfo is UTC
    for limit in (0, 1_000_001, True):
        with pytest.raises(ValueError, match="limit must be from 1 to 1,000,000"):
            doors.what_if(limit=limit)


NOWHERE = "redis://127.0.0.1:1/0"


def ways_to_fail(app: Celery) -> list[str]:
    """Gives an app a task for each way to fail, and their names."""

    def raises(error: BaseException, name: str, **options: Any) -> None:
        def body(self: Any) -> None:
            raise error

        app.task(body, name=name, bind=True, shared=False, **options)

    def asks_again(self: Any, **options: Any) -> None:
        raise self.retry(exc=Broken(), countdown=1, **options)

    def asks_again_then_breaks(self: Any) -> None:
        raise self.retry(countdown=1) if self.request.retries == 0 else Broken()

    raises(Broken(), "breaks")
    raises(Broken(), "once", max_attempts=1)
    raises(Hopeless(), "hopeless", no_retry_for=(Hopeless,))
    raises(NoRetry(), "no-retry")
    raises(RetryAfter(600), "retry-after")
    raises(Reject("no", requeue=False), "rejects")
    raises(SystemExit(), "kills-its-worker")
    raises(SoftTimeLimitExceeded(), "late")
    raises(Broken(), "auto", autoretry_for=(Broken,), max_retries=1, retry_backoff=1)
    raises(Hopeless(), "not-auto", autoretry_for=(Broken,), dont_autoretry_for=(Hopeless,))
    app.task(asks_again, name="asks-again", bind=True, shared=False, max_retries=2)
    app.task(asks_again_then_breaks, name="asks-again-then-breaks", bind=True, shared=False)
    return sorted(name for name in app.tasks if not name.startswith(("celery.", "celery_jobs.")))


def test_what_is_foretold_with_retries_off_is_what_happens_with_retries_on() -> None:
    told: dict[str | None, tuple[int, int, float | None]] = {}
    happened = {}
    for retries_enabled in (False, True):
        settings = {"retries_enabled": retries_enabled, "retry_delays": [60, 120]}
        app = make_app(NOWHERE, "sqlite:////nowhere/jobs.sqlite3", jobs_queue_defaults=settings)
        names = ways_to_fail(app)
        with Sandbox(app) as sandbox:
            runs = {name: sandbox.run_to_end(app.tasks[name].delay().job_id) for name in names}
            if retries_enabled:
                happened = {name: by_policy(run) for name, run in runs.items()}
            else:
                told = {
                    one.task: (one.failed, one.attempts, one.least_wait) for one in sandbox.jobs.what_if().forecasts
                }
    # How long RetryAfter asked to wait is not recorded.
    assert happened.pop("retry-after") == (1, 2, 600)
    assert told.pop("retry-after") == (1, 2, 60)
    assert told == happened


def by_policy(run: Run) -> tuple[int, int, float | None]:
    """One run: the retries that the policy made of it, and the wait before the first of them, in whole seconds."""
    made = [(one, after) for one, after in pairwise(run.attempts) if after.policy_retries > one.policy_retries]
    waits = [round((after.scheduled_at - one.finished_at).total_seconds()) for one, after in made if one.finished_at]
    return 1, len(made), min(waits, default=None)
