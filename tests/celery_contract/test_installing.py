"""install(app): once, in time, and in the right places."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import weakref
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.beat import Service
from celery.exceptions import NotRegistered

import celery_jobs
from celery_jobs import JobTask
from celery_jobs.beat import beat_schedule
from celery_jobs.errors import InvalidSettings, NotInstalled
from celery_jobs.plugin import plugin_of
from celery_jobs.settings import Settings
from celery_jobs.store import workers
from tests.apps import working
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.celery_contract.conftest import MakeApp

NAMES = set(beat_schedule(Settings()))


def test_installing_twice_is_refused(app: Celery) -> None:
    with pytest.raises(NotInstalled, match="already"):
        celery_jobs.install(app)


def test_installing_too_late_is_refused_and_says_how_to_mend_it() -> None:
    app = Celery("late", broker="memory://", set_as_current=False)

    @app.task(name="early")
    def early() -> None: ...

    early.name  # noqa: B018  evaluates the task
    with pytest.raises(NotInstalled, match="right where the app is made"):
        celery_jobs.install(app)


def test_an_app_that_was_pickled_is_installed_with_its_first_task(app: Celery) -> None:
    """As where a pool's processes are spawned and not forked."""
    copy = pickle.loads(pickle.dumps(app))

    @copy.task(name="late")
    def late() -> None: ...

    assert isinstance(late, JobTask)
    assert plugin_of(copy).manages("late")
    assert type(copy.control) is type(app.control)


def test_an_app_that_nobody_has_any_more_is_gone(new_sqlite_database: Callable[[], str]) -> None:
    """As Celery's own are: a test suite makes one for each of its tests."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.jobs_database_url = new_sqlite_database()
    celery_jobs.install(app)

    @app.task(name="add", shared=False)
    def add() -> None: ...

    add.delay()
    plugin_of(app).unchecked_db.dispose()
    app.close()
    gone = weakref.ref(app)
    del app, add
    gc.collect()
    assert gone() is None


def test_a_registry_of_an_apps_own_needs_no_get(app: Celery) -> None:
    class Registry:
        def __getitem__(self, name: str) -> Any:
            raise NotRegistered(name)

    app._tasks = Registry()
    assert plugin_of(app).manages("sent.by.name")


def test_an_app_without_the_plugin_is_told_what_to_call() -> None:
    with pytest.raises(NotInstalled, match="call celery_jobs"):
        celery_jobs.Jobs(Celery("bare", set_as_current=False))


WRONG = {"jobs_databse_url": "x", "jobs_max_losses": 0}


def test_wrong_settings_fail_at_the_first_enqueue_with_all_faults(new_app: MakeApp) -> None:
    app = new_app()
    app.conf.update(WRONG)

    @app.task(name="one")
    def one() -> None: ...

    with pytest.raises(InvalidSettings) as raised:
        one.delay()
    assert len(raised.value.problems) == 2
    assert "did you mean jobs_database_url?" in str(raised.value)


def test_wrong_settings_stop_a_worker_and_a_beat(new_app: MakeApp, tmp_path: Path) -> None:
    app = new_app()
    app.conf.update(WRONG)
    app.finalize()
    with pytest.raises(InvalidSettings), working(app):
        pass
    service = Service(app, schedule_filename=str(tmp_path / "schedule"))
    with pytest.raises(SystemExit, match="jobs_database_url"):
        service.start()
    service.scheduler.close()


def test_a_misspelled_option_of_a_task_fails_when_it_is_bound(app: Celery) -> None:
    @app.task(name="wrong", max_attemps=3)
    def wrong() -> None: ...

    with pytest.raises(InvalidSettings, match="did you mean max_attempts"):
        app.finalize()


def test_exceptions_that_are_no_tuple_of_classes_fail_when_the_task_is_bound(app: Celery) -> None:
    @app.task(name="wrong", no_retry_for=ValueError)
    def wrong() -> None: ...

    with pytest.raises(InvalidSettings, match="no_retry_for"):
        app.finalize()


def test_an_apps_own_beat_schedule_does_not_wipe_ours(app: Celery) -> None:
    app.conf.beat_schedule = {"mine": {"task": "mine", "schedule": 5.0}}
    app.finalize()
    assert {"mine", *NAMES} <= set(app.conf.beat_schedule)


def test_an_entry_of_the_users_own_wins(app: Celery) -> None:
    app.conf.beat_schedule = {"celery-jobs.promoter": {"task": "celery_jobs.promoter", "schedule": 7.0}}
    app.finalize()
    assert app.conf.beat_schedule["celery-jobs.promoter"]["schedule"] == 7.0


def test_beat_gets_our_entries_even_after_the_schedule_was_replaced(app: Celery, tmp_path: Path) -> None:
    app.finalize()
    app.conf.beat_schedule = {"mine": {"task": "mine", "schedule": 5.0}}
    service = Service(app, schedule_filename=str(tmp_path / "schedule"))
    from celery.signals import beat_init

    beat_init.send(sender=service)
    try:
        assert {"mine", *NAMES} <= set(service.scheduler.schedule)
    finally:
        service.scheduler.close()


def test_a_worker_serves_the_service_queue_besides_its_own(app: Celery) -> None:
    with working(app, queues=["emails"]):
        assert wait_until(lambda: workers.live_queues(plugin_of(app).db)) == {"emails", "celery-jobs"}
    assert workers.live_queues(plugin_of(app).db) == set()


def test_a_tick_of_beat_runs_its_service_once_an_interval(app: Celery) -> None:
    with working(app, queues=["celery"]):
        first = app.tasks["celery_jobs.promoter"].apply_async(queue="celery-jobs", ignore_result=False)
        second = app.tasks["celery_jobs.promoter"].apply_async(queue="celery-jobs", ignore_result=False)
        assert (first.get(timeout=40), second.get(timeout=40)) == (0, None)


def test_a_tick_expires_after_an_interval_also_where_a_scheduler_drops_the_entrys_option(app: Celery) -> None:
    """As django-celery-beat's does."""
    ours = beat_schedule(plugin_of(app).settings)
    app.finalize()
    assert {name: app.tasks[entry["task"]].expires for name, entry in ours.items()} == {
        name: entry["schedule"] for name, entry in ours.items()
    }


def test_the_command_is_an_entry_point_of_celery() -> None:
    (found,) = entry_points(group="celery.commands", name="jobs")
    assert found.load().name == "jobs"


HEAVY = (
    *("sqlalchemy", "psycopg", "sqlite3", "alembic", "celery_jobs.store.rows"),  # with the first enqueue
    *("httpx", "httpcore", "idna", "regex", "jsonpath", "apprise"),  # where somebody has a use for them
    *("rich", "click.testing", "celery.app.control", "kombu.matcher"),  # in commands
)


def test_an_app_with_a_task_of_ours_is_ready_without_what_takes_long_to_import() -> None:
    code = (
        "import sys, celery, celery_jobs; app = celery.Celery(broker='memory://'); celery_jobs.install(app)\n"
        "@app.task(name='add')\n"
        "def add(x: int, y: int) -> int: return x + y\n"
        "assert isinstance(add, celery_jobs.JobTask) and app.tasks['celery_jobs.http.request']\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_postgresql_without_tables_stops_the_worker_and_says_what_to_run(new_app: MakeApp, postgres: Any) -> None:
    name = f"jobs_empty_{id(new_app)}"
    url = postgres.create_database(name)
    try:
        app = new_app(jobs_database_url=url)
        with pytest.raises(celery_jobs.SchemaOutdated, match="jobs migrate"):
            plugin_of(app).db  # noqa: B018
        plugin_of(app).unchecked_db.dispose()
    finally:
        postgres.drop_database(name)
