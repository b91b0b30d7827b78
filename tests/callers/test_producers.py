"""Who else calls: by name, without the task's class, without the plugin, without the database."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, chain, chord

from celery_jobs import InvalidJob, Jobs
from celery_jobs.plugin import plugin_of
from tests.apps import be_quiet, make_app
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_jobs import Run

pytestmark = pytest.mark.xdist_group("callers")


def ended(office: Celery, id: str) -> Run:
    def look() -> Run | None:
        found = Jobs(office).list(limit=1000)
        run = next((run for run in found if run.task_id == id), None)
        return run if run is not None and run.has_ended else None

    return wait_until(look, 30)


@pytest.fixture
def elsewhere(office: Celery) -> Iterator[Celery]:
    """A producer with the plugin and none of the tasks."""
    app = make_app(office.conf.broker_url, office.conf.jobs_database_url, task_default_queue="callers")
    yield app
    be_quiet(app)
    plugin_of(app).unchecked_db.dispose()
    app.close()


@pytest.fixture
def foreigner(office: Celery) -> Iterator[Celery]:
    """A producer without the plugin."""
    app = Celery("foreign", broker=office.conf.broker_url, backend=office.conf.result_backend, set_as_current=False)
    app.conf.task_default_queue = "callers"
    yield app
    be_quiet(app)
    app.close()


BY_NAME: dict[str, Callable[[Celery], Any]] = {
    "send_task": lambda app: app.send_task("works_later", (7,), tags=["by name"], max_attempts=5),
    "a signature": lambda app: app.signature("works_later", (7,), tags=["by name"], max_attempts=5).apply_async(),
    "options of a signature": lambda app: (
        app.signature("works_later", (7,)).set(tags=["by name"], max_attempts=5).apply_async()
    ),
    "a chain": lambda app: (
        app.signature("echo", (7,)) | app.signature("works_later").set(tags=["by name"], max_attempts=5)
    ).apply_async(),
}


@pytest.mark.parametrize("who", ["with the task", "without"])
@pytest.mark.parametrize("how", BY_NAME)
def test_a_call_by_name_is_a_job_with_the_options_that_it_names(
    office: Celery, elsewhere: Celery, how: str, who: str
) -> None:
    result = BY_NAME[how](office if who == "with the task" else elsewhere)
    assert result.get(timeout=30) == 7
    run = ended(office, result.id)
    assert (run.final_status, run.attempt_number, run.tags, run.max_attempts) == ("success", 3, ["by name"], 5)
    message = Jobs(office).arguments(run.id)
    assert (message.args, message.kwargs) == ((7,), {})


def test_an_option_that_is_misspelled_is_refused_by_name_too(elsewhere: Celery) -> None:
    with pytest.raises(InvalidJob, match="did you mean idempotency_key"):
        elsewhere.signature("echo", (1,), idempotency_keys="x").apply_async()


def test_a_foreign_job_has_history_retries_and_its_dead_letter(office: Celery, foreigner: Celery) -> None:
    late, dead = foreigner.send_task("works_later", (7,)), foreigner.send_task("fails")
    assert late.get(timeout=30) == 7
    with pytest.raises(ValueError, match="it is broken"):
        dead.get(timeout=30)
    run, letter = ended(office, late.id), ended(office, dead.id)
    assert [row.error_message for row in run.attempts] == ["attempt 1", "attempt 2", None]
    assert (letter.final_status, letter.attempt_number) == ("dead_lettered", 3)
    assert Jobs(office).replay(letter.id).replay_of == letter.id


def test_a_foreign_canvas_runs_to_its_end_where_members_need_retries(office: Celery, foreigner: Celery) -> None:
    header = [foreigner.signature("works_later", (number,)) for number in (1, 2)]
    members = chord(header, foreigner.signature("total"), app=foreigner)
    result = chain(members, foreigner.signature("works_later"), app=foreigner).apply_async()
    assert result.get(timeout=30) == 3
    assert ended(office, result.id).attempt_number == 3


FOREIGN = """
import json, sys
from celery import Celery, chain, chord
app = Celery(broker=sys.argv[1])
app.conf.task_default_queue = "callers"
ids = [app.send_task(name, (7,), **options).id for name, options in json.loads(sys.argv[2])]
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"celery_jobs", "sqlalchemy"})
print(json.dumps([ids, loaded]))
"""


def test_another_process_that_knows_the_broker_alone_needs_nothing_else(office: Celery) -> None:
    calls = [("works_later", {}), ("echo", {"countdown": 0.2}), ("echo", {"task_id": "named in another process"})]
    command = [sys.executable, "-c", FOREIGN, office.conf.broker_url, json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    ids, loaded = json.loads(done.stdout)
    runs = [ended(office, id) for id in ids]
    assert loaded == []
    assert [(run.final_status, run.result, run.attempt_number) for run in runs] == [
        *[("success", 7, 3)],
        *[("success", 7, 1)] * 2,
    ]
    assert ids[2] == "named in another process"
