"""A sandbox keeps to itself: no network, the app as it was afterwards, one sandbox an app."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task, current_app, group

from celery_jobs import NotInstalled
from celery_jobs.errors import InvalidSettings
from celery_jobs.plugin import plugin_of
from celery_jobs.testing import Sandbox, SandboxError
from tests.apps import make_app
from tests.testing.conftest import NO_FILE, NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


KEPT = ("backend", "_backend", "_traced")
"""What a task keeps of its backend and its tracer."""


def state_of(app: Celery) -> dict[str, Any]:
    """Everything of an app that a sandbox may touch, once it is all made."""
    app.finalize()
    return {
        "app": {name: value for name, value in vars(app).items() if name in ("now", "_backend_cache", "send_task")},
        "send": app.amqp.send_task_message,
        "plugin": dict(vars(plugin_of(app))),
        "conf": dict(app.conf.changes),
        "tasks": {name: [vars(task).get(kept) for kept in KEPT] for name, task in app.tasks.items()},
        "current": current_app._get_current_object(),
    }


def add_task(app: Celery, **options: Any) -> Any:
    @app.task(name="add", **options)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def use(sandbox: Sandbox, add: Any) -> None:
    group(add.s(1, 1), add.s(2, 2)).apply_async()
    sandbox.drain()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("broken", [False, True], ids=["closed", "after an error"])
def test_the_app_is_as_it_was_and_the_folder_gone(app: Celery, temporary: Path, broken: bool) -> None:
    add = add_task(app)
    before = state_of(app)
    with suppress(ZeroDivisionError), Sandbox(app) as sandbox:
        use(sandbox, add)
        assert list(temporary.iterdir()) != []
        if broken:
            raise ZeroDivisionError
    assert state_of(app) == before
    assert list(temporary.iterdir()) == []


def test_wrong_settings_are_named_and_leave_the_app_as_it_was(app: Celery, temporary: Path) -> None:
    add_task(app)
    app.conf.jobs_max_losses = "three"
    before = state_of(app)
    with pytest.raises(InvalidSettings, match="jobs_max_losses"):
        Sandbox(app).start()
    assert state_of(app)["plugin"] == before["plugin"]
    assert list(temporary.iterdir()) == []


def test_each_sandbox_knows_the_limits_of_its_settings(app: Celery) -> None:
    add = add_task(app)
    with Sandbox(app) as sandbox:
        use(sandbox, add)
    app.conf.jobs_queue_defaults = {"concurrency_limit": 1}
    with Sandbox(app) as sandbox:
        use(sandbox, add)
        assert plugin_of(app).has_limited_queues
    assert "has_limited_queues" not in vars(plugin_of(app))


def test_each_sandbox_reads_the_settings_anew(app: Celery) -> None:
    add_task(app)
    with Sandbox(app) as sandbox:
        assert sandbox.jobs.enqueue("add", (1, 1)).max_attempts == 4
    app.conf.jobs_queue_defaults = {"retry_delays": [1]}
    with Sandbox(app) as sandbox:
        assert sandbox.jobs.enqueue("add", (1, 1)).max_attempts == 2


def test_a_second_sandbox_on_an_app_is_refused_and_two_apps_have_their_own(
    app: Celery, jobs_sandbox: Callable[[Celery], Sandbox]
) -> None:
    sandbox, other_app = jobs_sandbox(app), make_app(NOWHERE, NO_FILE)
    with pytest.raises(SandboxError, match="is in a sandbox already"):
        jobs_sandbox(app)
    with pytest.raises(SandboxError, match="is in a sandbox already"):
        sandbox.start()
    other = jobs_sandbox(other_app)
    add_task(app).delay(1, 2)
    add_task(other_app).delay(3, 4)
    other.advance(3600)
    assert [run.result for run in sandbox.drain()] == [3]
    assert [run.result for run in other.drain()] == [7]
    assert (other.now - sandbox.now).total_seconds() == pytest.approx(3600, abs=60)


def test_a_closed_sandbox_refuses_and_opens_again_empty(app: Celery) -> None:
    add = add_task(app)
    sandbox = Sandbox(app).start()
    add.delay(1, 2)
    sandbox.stop()
    sandbox.stop()
    for verb in (sandbox.drain, sandbox.run_due, sandbox.enqueued, lambda: sandbox.now, lambda: sandbox.jobs):
        with pytest.raises(SandboxError, match="is not open"):
            verb()
    with sandbox:
        assert sandbox.enqueued() == []


def test_an_app_without_the_plugin_is_told_so() -> None:
    plain = Celery("plain", set_as_current=False)
    with pytest.raises(NotInstalled, match=r"call celery_jobs\.install"):
        Sandbox(plain)


def test_nothing_is_tried_where_broker_results_and_database_are_away(
    app: Celery, sandbox: Sandbox, tried: list[Any]
) -> None:
    add = add_task(app)
    app.conf.task_send_sent_event = True
    result = add.delay(1, 2)
    held = add.apply_async((3, 4), delay=3600)
    sandbox.drain()
    sandbox.jobs.replay(result.id)
    sandbox.drain()
    assert (result.get(), held.get()) == (3, 7)
    assert tried == []


def test_eager_settings_are_off_inside_and_back_afterwards(app: Celery) -> None:
    add = add_task(app)
    app.conf.task_always_eager = True
    with Sandbox(app) as sandbox:
        add.delay(1, 2)
        sandbox.assert_enqueued(add)
        sandbox.drain()
    assert app.conf.task_always_eager is True


def test_a_tasks_own_result_backend_is_replaced_and_put_back(app: Celery) -> None:
    away = Celery("away", backend=NOWHERE, set_as_current=False).backend
    declared = add_task(app, backend=away)
    given: Any = app.tasks["celery.backend_cleanup"]
    given.backend = away
    with Sandbox(app) as sandbox:
        assert declared.backend is given.backend is app.backend
        result = declared.delay(1, 2)
        sandbox.drain()
        assert result.get() == 3
    assert declared.backend is given.backend is away


def test_a_rolled_over_memory_of_results_is_each_sandboxs_own(app: Celery) -> None:
    add = add_task(app)
    with Sandbox(app) as sandbox:
        result = add.delay(1, 2)
        sandbox.drain()
        assert result.state == "SUCCESS"
        task_id = result.id
    with Sandbox(app):
        assert app.AsyncResult(task_id).state == "PENDING"


def test_the_shortcuts_can_be_sandboxed_too() -> None:
    app = Celery("shop", broker=NOWHERE, backend=NOWHERE, task_cls="celery_jobs:JobTask", set_as_current=False)
    add = add_task(app)
    with Sandbox(app) as sandbox:
        add.delay(1, 2)
        assert [run.result for run in sandbox.drain()] == [3]


def test_tasks_that_are_no_jobs_reach_no_broker(app: Celery, tried: list[Any]) -> None:
    with Sandbox(app) as sandbox:
        plain = add_task(app, base=Task)
        result = plain.delay(1, 2)
        assert sandbox.enqueued() == []
        sandbox.drain()
        assert result.get() == 3
    assert tried == []
