"""Jobs that are kept encrypted: what is nowhere to be read, who can read it, and keys that come and go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain
from cryptography.fernet import Fernet
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from celery_jobs import ArgumentsDoNotFit, InvalidSettings, Jobs
from celery_jobs.configuration import parse_settings
from celery_jobs.envelope import decode_body
from celery_jobs.plugin import plugin_of
from celery_jobs.sealing import CONTENT_TYPE, Key, Sealer, Unsealable, differ
from celery_jobs.services import make_service
from celery_jobs.store import attempts, reads, responses
from celery_jobs.store.rows import Response
from tests.apps import working
from tests.jobs.conftest import bury, claim, held
from tests.outgoing.servers import answer, answers, serving
from tests.processes import wait_until
from tests.sealing.conftest import carried
from tests.sealing.shop import CANARY, NEW, OLD, PULL

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from tests.processes import Worker

    Shop = Callable[..., Celery]


def run_all(app: Celery, *ids: str) -> None:
    with working(app):
        wait_until(lambda: all(Jobs(app).get(id).has_ended for id in ids))


def test_nothing_is_to_be_read_where_it_is_kept_and_carried(shop: Shop, broker_url: str) -> None:
    app = shop(NEW)
    doors = Jobs(app)
    ids = [app.tasks["echo"].delay(CANARY, y={"card": CANARY}).job_id for _ in range(4)]
    ids += [str(made.job_id) for made in doors.enqueue_many([{"task": "echo", "args": [CANARY, n]} for n in range(3)])]
    ids.append(app.tasks["second"].delay(CANARY).job_id)
    steps = chain(app.tasks["echo"].s(1), app.tasks["echo"].s(CANARY)).apply_async()
    ids.append(doors.get(steps.parent.id).id)
    assert len(carried(broker_url)) > 1000
    assert CANARY not in held(plugin_of(app).db) + carried(broker_url)
    with working(app):
        wait_until(lambda: doors.count(ended=True) == len(ids) + 1)
    assert CANARY not in held(plugin_of(app).db) + carried(broker_url)
    assert doors.get(steps.id).result == [[[[1], {}], CANARY], {}]
    assert doors.get(ids[0]).result == [[CANARY], {"y": {"card": CANARY}}]
    assert doors.get(ids[4]).result == [[CANARY, 0], {}]
    assert doors.arguments(ids[0]).kwargs == {"y": {"card": CANARY}}
    assert doors.get(ids[7]).attempt_number == 2
    assert [run.result for run in doors.list(task="second")] == [CANARY]


def test_copies_of_a_call_are_sealed_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    app = shop(NEW)
    filled: list[Any] = []
    from celery_jobs.template import Template

    fill = Template.fill

    def counted(self: Template, *given: Any) -> Any:
        filled.append(given)
        return fill(self, *given)

    monkeypatch.setattr(Template, "fill", counted)
    for _ in range(5):
        app.tasks["echo"].delay(CANARY)
    Jobs(app).enqueue_many([{"task": "echo", "args": [CANARY]} for _ in range(5)])
    assert len(filled) >= 8, "Celery has made each: copies of what is sealed are not taken for copies"
    assert CANARY not in held(plugin_of(app).db)


def test_equal_payloads_are_known_as_equal(shop: Shop) -> None:
    doors = Jobs(shop(NEW))
    first = doors.enqueue("echo", (1,), idempotency_key="k")
    assert not doors.enqueue("echo", (1,), idempotency_key="k").payload_mismatch
    assert doors.enqueue("echo", (2,), idempotency_key="k").payload_mismatch
    other = Jobs(shop(OLD, NEW)).enqueue("echo", (1,), idempotency_key="k")
    assert (other.id, other.deduplicated, other.payload_mismatch) == (first.id, True, False)


def test_duplicates_are_found_among_what_is_sealed(shop: Shop) -> None:
    doors = Jobs(shop(NEW, jobs_queue_defaults={"retries_enabled": False}))
    db = plugin_of(doors.app).db
    for args in ((1,), (1,), (2,)):
        bury(db, doors.enqueue("echo", args).id)
    assert doors.what_if(within=60).total.duplicates == 1


def test_keys_come_and_go(shop: Shop) -> None:
    before = Jobs(shop(OLD))
    waits = before.enqueue("echo", (CANARY,)).id
    done = before.enqueue("echo", (CANARY, 2)).id
    db = plugin_of(before.app).db
    sealed = plugin_of(before.app).sealer
    assert sealed is not None
    assert attempts.complete(db, claim(db, done), sealed.seal_json(f'"{CANARY}"'), 5)
    both = Jobs(shop(NEW, OLD))
    assert both.get(done).result == CANARY
    assert both.arguments(waits).args == (CANARY,)
    replay = both.replay(done)
    run_all(both.app, waits, replay.id)
    assert both.get(waits).result == [[CANARY], {}]
    after = Jobs(shop(NEW))
    assert after.arguments(replay.id).args == (CANARY, 2), "a replay is sealed with the first key"
    assert after.get(replay.id).result == [[CANARY, 2], {}]
    assert "sealed with the key '2025'" in str(after.arguments(done))
    assert str(after.get(done).result).startswith("cj1 ")
    with pytest.raises(ArgumentsDoNotFit, match="2025"):
        after.replay(done, force=True)


def test_what_is_plain_is_read_and_nothing_is_sealed_until_all_can_open_it(shop: Shop) -> None:
    old = Jobs(shop())
    plain = old.enqueue("echo", (CANARY,)).id
    ready = Jobs(shop("plain", NEW))
    assert ready.arguments(ready.enqueue("echo", (1,)).id).args == (1,)
    assert old.arguments(ready.enqueue("echo", (2,)).id).args == (2,)
    sealing = Jobs(shop(NEW))
    assert sealing.arguments(plain).args == (CANARY,)
    sealed = sealing.enqueue("echo", (3,)).id
    assert ready.arguments(sealed).args == (3,)
    assert old.arguments(sealed).unreadable
    run_all(ready.app, plain, sealed)


def test_what_outside_workers_claim_is_sealed(shop: Shop) -> None:
    doors = Jobs(shop(NEW))
    run = doors.enqueue_payload(PULL, {"card": CANARY})
    assert CANARY not in held(plugin_of(doors.app).db)
    assert doors.arguments(run.id).args == ({"card": CANARY},)
    with pytest.raises(Unsealable, match="2026"):
        Jobs(shop(OLD)).claim(PULL, "anne")
    with pytest.raises(Unsealable):
        Jobs(shop()).claim(PULL, "anne")
    again = doors.get(run.id)
    assert (again.status, again.losses) == ("pending", 0)
    [claimed] = doors.claim(PULL, "anne")
    assert claimed.payload == {"card": CANARY}
    assert doors.complete(claimed.id, "anne", result={"card": CANARY}).result == {"card": CANARY}
    assert CANARY not in held(plugin_of(doors.app).db)
    replay = doors.replay(run.id)
    assert doors.claim(PULL, "ben")[0].id == replay.id


def test_a_worker_without_the_key_leaves_the_job(shop: Shop) -> None:
    doors = Jobs(shop(NEW, jobs_redispatch_after=0.1))
    id = doors.enqueue("echo", (CANARY,)).id
    with working(shop()):
        wait_until(lambda: doors.get(id).failure_reason is not None)
    run = doors.get(id)
    assert (run.status, run.failure_reason, run.losses, run.attempt_number) == ("pending", "undecodable", 0, 1)
    redispatcher = make_service(plugin_of(doors.app), "redispatcher")
    with working(doors.app):
        wait_until(lambda: redispatcher.run_once() > 0 or doors.get(id).has_ended)
        wait_until(lambda: doors.get(id).has_ended)
    assert doors.get(id).final_status == "success"


def test_a_message_that_becomes_a_job_is_sealed_in_its_row(shop: Shop) -> None:
    app = shop(NEW)
    from celery import Celery

    with Celery("other", broker=app.conf.broker_url, set_as_current=False) as other:
        task_id = other.send_task("echo", (CANARY,)).id
    with working(app):
        wait_until(lambda: [run for run in Jobs(app).list(ended=True) if run.task_id == task_id])
    assert Jobs(app).arguments(task_id).args == (CANARY,)
    body = reads.message_of(plugin_of(app).db, Jobs(app).get(task_id).id)
    assert body is not None
    assert body.content_type == CONTENT_TYPE


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_real_workers_run_what_is_sealed_and_take_new_keys(
    shop: Shop, start: Callable[..., Worker], broker_url: str
) -> None:
    app = shop(OLD)
    doors = Jobs(app)
    kept = answers(answer(b'{"card": "canary-4111"}', 200, X_Card=CANARY))
    with serving(kept) as server, start(OLD).wait_ready():
        done = doors.wait(doors.enqueue("echo", (CANARY,)).id, 30)
        asked = doors.wait(doors.enqueue_http(server.url, payload={"card": CANARY}).id, 30)
        died = doors.wait(doors.enqueue("fails", (CANARY,)).id, 30)
    assert done.result == [[CANARY], {}]
    assert asked.response is not None
    assert (asked.response.body, asked.response.headers["x-card"]) == (b'{"card": "canary-4111"}', CANARY)
    assert died.final_status == "dead_lettered"
    assert re.sub("Traceback.*?declined", "", held(plugin_of(app).db)).count(CANARY) == 0
    late = doors.enqueue("second", (CANARY,)).id
    with start(NEW, OLD).wait_ready():
        newer = Jobs(shop(NEW, OLD))
        assert newer.wait(late, 30).result == CANARY
        assert newer.wait(newer.replay(died.id).id, 30).final_status == "dead_lettered"
    assert CANARY not in held(plugin_of(app).db) + carried(broker_url)


SEALER = Sealer([Key(NEW), Key(OLD)])


def test_what_was_changed_is_not_opened() -> None:
    sealed = bytearray(SEALER.seal(b"7"))
    sealed[-5] ^= 1
    with pytest.raises(Unsealable, match="2026"):
        SEALER.open(bytes(sealed))


def test_a_response_is_as_it_was() -> None:
    response = Response(200, {"a": "b\nc"}, b"\n\n\x00", truncated=True)
    kept = responses.sealed(response, SEALER)
    assert (kept.headers, kept.truncated, kept.status) == ({}, True, 200)
    assert responses._opened(kept, SEALER) == response
    assert responses._opened(kept, Sealer([Key(OLD)])) == kept
    assert responses._opened(response, SEALER) == response


def test_who_has_a_key_cannot_bring_in_what_the_app_does_not_accept(shop: Shop) -> None:
    app = shop(NEW)
    made = Jobs(app).enqueue("echo", (1,))
    message = reads.message_of(plugin_of(app).db, made.id)
    assert message is not None
    from dataclasses import replace

    pickled = SEALER.seal_body("application/x-python-serialize", "binary", b"cos\nsystem\n(S'false'\ntR.")[2]
    with pytest.raises(ContentDisallowed, match="pickle"):
        decode_body(plugin_of(app), replace(message, body=pickled))
    with pytest.raises(ContentDisallowed, match="pickle"):
        loads(pickled, CONTENT_TYPE, "binary", accept={CONTENT_TYPE})


def test_only_what_is_known_to_differ_differs() -> None:
    other = Sealer([Key(OLD)])
    one, two = SEALER.seal(b"1"), SEALER.seal(b"2")
    assert not differ(one, SEALER.seal(b"1"))
    assert differ(one, two)
    assert not differ(one, other.seal(b"2"))
    assert not differ(b"", two)
    assert not differ(b"1", one)
    assert differ(b"1", b"2")


KEY = Fernet.generate_key().decode()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (f"a:{KEY}", "a list of keys is expected"),
        ([KEY], "number 1: a name, a colon and 32 bytes"),
        ([f"a b:{KEY}"], "number 1: a name"),
        ([f"a:{KEY[:-8]}"], "number 1: a name"),
        ([f"a:{KEY}", f"a:{KEY}"], "number 2: a name of its own"),
        ([f"a:{KEY}", "plain"], "number 2: a name of its own"),
    ],
    ids=["a text", "no name", "a blank", "too short", "twice", "plain behind"],
)
def test_a_wrong_key_is_said_and_never_shown(given: Any, problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem) as caught:
        parse_settings({"encryption_keys": given})
    assert KEY[:20] not in str(caught.value)


def test_keys_show_themselves_nowhere(shop: Shop) -> None:
    app = shop(NEW)
    assert NEW[5:] not in app.conf.humanize() + repr(app.conf.table(censored=True)) + repr(plugin_of(app).settings)
    settings = parse_settings({"encryption_keys": [NEW]})
    assert NEW[5:] not in repr(settings)
    assert "'2026'" in repr(settings)
