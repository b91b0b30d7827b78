"""What docs/adopting.md says of leaving: what waits in SQL is fired, and plain workers run all that is left, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, inspect, text

from tests.apps import working
from tests.docs.pages import blocks_of
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adoption.conftest import Fleet


@pytest.mark.parametrize("settings", [{"jobs_queue_defaults": {}}], ids=["retries on"])
def test_what_waits_in_sql_is_fired_and_plain_workers_run_everything_once(fleet: Fleet) -> None:
    retried = fleet.mark(fleet.new, "a retry", task="shop.mark_at_second")
    held = fleet.mark(fleet.new, "held", delay=3600)
    unwanted = fleet.mark(fleet.new, "unwanted", delay=3600)
    with working(fleet.new):
        wait_until(lambda: fleet.jobs.get(retried.id).has_pending_retry)
    fleet.jobs.cancel(unwanted.id)
    # The workers are plain ones from here on.
    sent = fleet.mark(fleet.new, "sent", countdown=1)
    with working(fleet.old):
        fleet.wait_for_marks("sent old")
        wait_until(lambda: fleet.new.AsyncResult(sent.id).state == "SUCCESS")
        result = fleet.jobs.fire_many(status="pending")
        assert (result.matched, result.done) == (3, 3)
        fleet.wait_for_marks("sent old", "held old", "a retry old")
        results = [fleet.new.AsyncResult(id) for id in (sent.id, held.id, retried.id)]
        wait_until(lambda: all(result.state == "SUCCESS" for result in results))
        last = fleet.mark(fleet.old, "last")
        assert last.get(timeout=40) == "last"
    assert len(fleet.marks) == 4
    assert {fleet.jobs.get(found.id).status for found in results} == {"pending"}


@pytest.mark.matrix
def test_calls_of_a_plain_producer_are_adopted_until_the_last_worker_of_ours_has_gone(fleet: Fleet) -> None:
    with working(fleet.new):
        adopted = fleet.mark(fleet.old, "adopted")
        adopted.get(timeout=40)
        assert fleet.ended(adopted.id).final_status == "success"
    plain = fleet.mark(fleet.old, "plain")
    with working(fleet.old):
        assert plain.get(timeout=40) == "plain"
    assert fleet.marks == ["adopted new", "plain old"]
    assert fleet.jobs.count() == 1


@pytest.mark.matrix
def test_our_options_without_the_plugin_are_ignored_in_silence(fleet: Fleet) -> None:
    with working(fleet.old):
        fleet.mark(fleet.old, "at once", delay=3600, idempotency_key="one", retry_delays=[1]).get(timeout=40)
    assert fleet.marks == ["at once old"]


def test_the_statement_of_the_page_drops_every_table(new_postgresql_database: Callable[[], str]) -> None:
    (code,) = (block.text for block in blocks_of("adopting.md") if "DROP TABLE" in block.text)
    statement = code.partition('"')[2].partition('"')[0]
    engine = create_engine(new_postgresql_database())
    with engine.begin() as connection:
        connection.execute(text(statement))
    assert inspect(engine).get_table_names() == []
    engine.dispose()
