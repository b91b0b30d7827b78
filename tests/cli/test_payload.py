"""enqueue-payload, and what the other commands say of a job without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_jobs import Jobs
from tests.cli.conftest import lines

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Run

QUEUES = {"thumbs": {"mode": "pull", "retry_delays": []}}


def test_a_payload_is_enqueued_shown_and_replayed(app: Celery, run: Run) -> None:
    app.conf.jobs_queues = QUEUES
    result = run("enqueue-payload", '{"image": 7}', "--queue", "thumbs", "--key", "k1", "--priority", "3", "--json")
    (made,) = lines(result.stdout)
    assert (made["task"], made["queue"], made["priority"], made["idempotency_key"]) == (None, "thumbs", 3, "k1")
    (job,) = Jobs(app).claim("thumbs", "anne")
    assert job.payload == {"image": 7}
    Jobs(app).fail(job.id, "anne", "no such image")
    shown = run("show", made["id"]).stdout
    assert "({'image': 7})" in shown
    assert "on worker anne" in shown
    assert "no such image" in shown
    for command in (["list"], ["dlq", "list"], ["queues"], ["stats"], ["stats", "--what-if"]):
        assert run(*command).exit_code == 0, command
    assert run("replay", made["id"]).exit_code == 0
    assert [again.payload for again in Jobs(app).claim("thumbs", "anne")] == [{"image": 7}]


def test_what_is_no_payload_or_no_such_queue_is_wrong_usage(app: Celery, run: Run) -> None:
    app.conf.jobs_queues = QUEUES
    for words in (["{"], ["1"], ["1", "--queue", "plain"], ["1", "--queue", "thumbs", "--delay", "2d"]):
        assert run("enqueue-payload", *words).exit_code == 2, words
    assert len(Jobs(app).list()) == 0
