"""A chain that ends outside a run is ended for Celery too: `.get()`, the chord, the errback and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord
from celery.exceptions import ChordError, NotRegistered, TaskRevokedError, WorkerLostError

from celery_jobs import Jobs
from celery_jobs.plugin import plugin_of
from tests.apps import make_app
from tests.faults.judged import QUICK
from tests.processes import wait_until
from tests.servers.databases import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from tests.processes import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("db"),
    pytest.mark.parametrize("database_url", BOTH, indirect=True),
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a member of a chord ends without a worker's run, and what of it Celery is to hear."""

    task: str
    error: type[BaseException]
    ending: tuple[str, str | None]
    queue: str = "unserved"
    options: tuple[tuple[str, Any], ...] = ()


VERDICTS = {
    "the reaper's": Verdict("hang", WorkerLostError, ("dead_lettered", "worker_lost"), queue="doomed"),
    "a cancel": Verdict("one", TaskRevokedError, ("cancelled", None)),
    "a revoke": Verdict("one", TaskRevokedError, ("cancelled", None)),
    "an expiry": Verdict("one", TaskRevokedError, ("cancelled", "expired"), options=(("expires", 0.5),)),
    "an unknown task": Verdict("unheard_of", NotRegistered, ("dead_lettered", "unknown_task"), queue="celery"),
}


@dataclass(frozen=True, slots=True)
class Story:
    """A chord with a member that is judged, and the file in which its body and its errback leave their notes."""

    member: Any
    body: Any
    notes: Path


@pytest.fixture
def app(broker_url: str, database_url: str) -> Iterator[Celery]:
    app = make_app(broker_url, database_url, **QUICK)
    yield app
    plugin_of(app).unchecked_db.dispose()
    app.close()


def begin(app: Celery, name: str, folder: Path) -> Story:
    """Send a chord of a member that works and one that is judged, with an errback on the latter."""
    verdict, notes = VERDICTS[name], folder / f"{name}.notes"
    args = (str(folder / "hanging"),) if verdict.task == "hang" else ()
    judged = app.signature(f"judged.{verdict.task}", args).set(queue=verdict.queue, **dict(verdict.options))
    judged.link_error(app.signature("judged.note_failure", kwargs={"file": str(notes)}))
    body = chord([app.signature("judged.one"), judged], app=app)(
        app.signature("judged.total", kwargs={"file": str(notes)})
    )
    return Story(body.parent.children[1], body, notes)


@pytest.mark.matrix
def test_whoever_waits_for_a_chain_that_ends_outside_a_run_hears_of_it(
    app: Celery, start: Callable[..., Worker], tmp_path: Path
) -> None:
    doomed, front = (start(app="tests.faults.judged:app", queues=[queue]) for queue in ("doomed", "celery"))
    stories = {name: begin(app, name, tmp_path) for name in VERDICTS}
    wait_until((tmp_path / "hanging").exists, process=doomed)
    doomed.kill()
    Jobs(app).cancel(stories["a cancel"].member.id)
    stories["a revoke"].member.revoke()
    for name, story in stories.items():
        verdict = VERDICTS[name]
        with pytest.raises(verdict.error):
            story.member.get(timeout=40)
        with pytest.raises(ChordError):
            story.body.get(timeout=40, follow_parents=False)
        run = Jobs(app).get(story.member.id)
        assert (run.final_status, run.failure_reason) == verdict.ending, name
        if verdict.error is not TaskRevokedError:
            wait_until(story.notes.exists, message=f"{name}: no errback", process=front)
    assert front.stop() == 0
    for name, story in stories.items():
        error = VERDICTS[name].error
        # Celery runs no errbacks for what was revoked; nothing else ever runs twice, nor the body at all.
        expected = "" if error is TaskRevokedError else f"{error.__name__}\n"
        assert (story.notes.read_text() if story.notes.exists() else "") == expected, name
