"""list, show and wait: what they print for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from celery_jobs import Jobs
from celery_jobs.cli import runs
from celery_jobs.plugin import plugin_of
from celery_jobs.store import looks
from celery_jobs.store.tables import jobs as table
from tests.apps import working
from tests.cli.conftest import lines
from tests.store.conftest import begin, retry

if TYPE_CHECKING:
    from celery import Celery

    from tests.cli.conftest import Kill, Run


def listed(run: Run, *arguments: str) -> list[str]:
    return [row["id"] for row in lines(run("list", "--json", *arguments).stdout)]


def test_list_shows_runs_newest_first(app: Celery, run: Run) -> None:
    assert run("list").stdout == "no jobs\n"
    first, second = app.tasks["cli.add"].delay(1), app.tasks["cli.add"].delay(2)
    assert listed(run) == [second.job_id, first.job_id]
    assert run("list").stdout.index(second.job_id) < run("list").stdout.index(first.job_id)


def test_list_shows_the_error_of_a_run_that_waits_for_its_next_attempt(app: Celery, run: Run) -> None:
    db = plugin_of(app).db
    retry(db, begin(db), delay=60)
    shown = run("list", "--status", "retrying").stdout
    assert "ValueError: card declined" in " ".join(shown.split())


def test_list_pages_by_cursor(app: Celery, run: Run) -> None:
    ids = [app.tasks["cli.add"].delay(n).job_id for n in range(3)]
    first = run("list", "--limit", "2", "--json")
    assert [row["id"] for row in lines(first.stdout)] == [ids[2], ids[1]]
    rest = run("list", "--limit", "2", "--cursor", first.stderr.split()[-1], "--json")
    assert [row["id"] for row in lines(rest.stdout)] == [ids[0]]
    assert rest.stderr == ""


def test_list_goes_on_where_a_page_ends_early(app: Celery, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = app.tasks["cli.add"].apply_async((1,), queue="rare")
    for n in range(5):
        app.tasks["cli.add"].delay(n)
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 1)
    monkeypatch.setattr(looks, "LOOKED_AT", 2)
    assert listed(run, "--queue", "rare", "--limit", "1") == [rare.job_id]
    assert run("list", "--queue", "none").stdout == "no jobs match\n"
    assert run("dlq", "list").stderr == ""


def test_list_does_not_go_on_to_what_is_a_day_too_old(app: Celery, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        app.tasks["cli.add"].delay(n)
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 1)
    monkeypatch.setattr(looks, "LOOKED_AT", 2)
    assert run("list", "--since", "1h", "--queue", "none").stderr == ""
    monkeypatch.setattr(runs, "made_at", lambda id: datetime.now(UTC) - timedelta(hours=26))
    shown = run("list", "--since", "1h", "--queue", "none")
    assert (shown.stdout, shown.stderr.split()[:2]) == ("no jobs match\n", ["older", "jobs:"])


@pytest.mark.parametrize("spelling", ["dead_lettered", "deadletter", "DEAD"])
def test_list_takes_each_spelling_of_the_dead_letter_queue(run: Run, dead: str, spelling: str) -> None:
    assert listed(run, "--status", spelling) == [dead]
    assert listed(run, "--final-status", spelling) == [dead]
    assert listed(run, "--status", "success") == []


def test_each_option_of_a_filter_finds_what_it_says(app: Celery, run: Run, kill: Kill) -> None:
    (dead,) = kill("no stock", queue="celery", tags={"customer": "42"})
    replay = Jobs(app).replay(dead).id
    app.tasks["cli.add"].apply_async((1,), queue="plain")
    only_dead = [
        *(["--error-type", "ValueError"], ["--error", "STOCK"], ["--dead-since", "1h"], ["--original", dead]),
        *(["--dead-since", "2020-01-01", "--dead-until", "2999-01-01T00:00:00Z"], ["--original", dead[:23]]),
    ]
    for options in only_dead:
        assert listed(run, *options) == [dead], options
    for options in (["--task", "cli.fail"], ["--tag", "customer:42"], ["--queue", "celery"]):
        assert listed(run, *options) == [replay, dead], options
    assert listed(run, "--tag", "42", "--tag", "customer:42") == [replay, dead]
    assert listed(run, "--tag", "42", "--tag", "vip") == []
    assert "  customer: 42  " in run("list", "--tag", "42").stdout
    assert "  customer: 42  " in run("dlq", "list").stdout
    assert listed(run, "--replay-of", dead) == [replay]
    assert len(listed(run, "--attempts", "1", "--since", "10m")) == 3
    assert listed(run, "--until", "10m") == []
    assert run("list", "--until", "10m").stdout == "no jobs match\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--status", "broken"),
        ("--final-status", "pending"),
        ("--since", "yesterday"),
        ("--until", "9999999999d"),
        ("--dead-since", "2026-13-01"),
        ("--attempts", "0"),
        ("--queue", ""),
        ("--tag", ""),
        ("--tag", "a\x00b"),
        ("--error", " "),
        ("--task", "a\x00b"),
        ("--limit", "0"),
    ],
)
def test_a_bad_value_is_wrong_usage_and_names_its_option(run: Run, option: str, value: str) -> None:
    result = run("list", option, value)
    assert result.exit_code == 2
    assert f"'{option}'" in result.stderr.splitlines()[-1]


def test_an_unknown_state_lists_the_known_ones(run: Run) -> None:
    assert "dead_lettered" in run("list", "--status", "broken").stderr


def test_moments_without_a_zone_are_utc(app: Celery, run: Run) -> None:
    made = Jobs(app).get(app.tasks["cli.add"].delay(1).job_id).created_at
    naive = made.replace(tzinfo=None, microsecond=0).isoformat()
    assert len(listed(run, "--since", naive)) == 1
    assert len(listed(run, "--until", naive)) == 0


def test_show_tells_the_whole_chain(run: Run, dead: str) -> None:
    shown = run("show", dead).stdout
    for words in ("cli.fail", "dead_lettered", "('no stock')", "ValueError: no stock", "attempts: 1 of", "Traceback"):
        assert words in shown
    assert "Traceback" not in run("show", dead, "--no-traceback").stdout
    (told,) = lines(run("show", dead, "--json").stdout)
    assert told["final_status"] == "dead_lettered"
    assert told["arguments"] == {"args": ["no stock"], "kwargs": {}, "unreadable": None}
    assert told["attempts"][0]["error_message"] == "no stock"
    assert told["dead_lettered_at"].endswith("Z")


def test_show_tells_the_waits_between_the_attempts_and_each_ones_outcome(app: Celery, run: Run) -> None:
    job_id = app.tasks["cli.fail"].apply_async(("no stock",), retry_delays=[0.1, 90]).job_id
    with working(app):
        while Jobs(app).get(job_id).attempt_number < 3:
            pass
    shown = run("show", job_id).stdout
    assert "attempts: 3 of at most 3" in shown
    assert "  1  failed, the whole run: retrying\n" in shown
    assert "  │  +100ms\n" in shown
    assert "  2  failed, failed_with_retries\n" in shown
    assert "  │  +1m 30s\n" in shown
    assert "  3  pending\n      due     " in shown
    assert ", in 1m " in shown
    assert "on worker " in shown
    assert shown.count("traceback of attempts 1, 2") == 1


def test_show_tells_what_a_run_is_a_replay_of_and_was_replayed_as(app: Celery, run: Run, dead: str) -> None:
    new = Jobs(app).replay(dead, reason="stock is back").id
    assert f"replayed as  {new}  pending\n" in run("show", dead).stdout
    shown = run("show", new).stdout
    assert f"replay of  {dead}  dead_lettered\n" in shown
    assert "reason  stock is back" in shown
    Jobs(app).purge(dead)
    assert f"replay of  {dead}, which is gone" in run("show", new).stdout


def test_show_tells_result_tags_key_and_callback(app: Celery, run: Run) -> None:
    app.conf.jobs_http_allowed_addresses = ["127.0.0.1"]
    options = {"tags": ["a", "b"], "idempotency_key": "k1", "callback_url": "http://127.0.0.1:1/done"}
    job_id = app.tasks["cli.add"].apply_async((1,), {"y": 2}, **options).job_id
    with working(app):
        Jobs(app).wait(job_id, 40)
    shown = run("show", job_id).stdout
    for words in ("result  3", "tags  a, b", "key  k1", "callback  http://127.0.0.1:1/done", "(1, y=2)"):
        assert words in shown


def test_a_celery_task_id_and_the_beginning_of_an_id_will_do(app: Celery, run: Run) -> None:
    result = app.tasks["cli.add"].apply_async((1,), task_id="order-42")
    for id in (result.job_id, "order-42", result.job_id[:23], result.job_id.replace("-", "")[:20]):
        assert lines(run("show", id, "--json").stdout)[0]["id"] == result.job_id


def test_an_ambiguous_beginning_lists_the_candidates(app: Celery, run: Run) -> None:
    ids = [app.tasks["cli.add"].delay(n).job_id for n in range(2)]
    result = run("show", ids[0][:2])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == [f"  {ids[1]}", f"  {ids[0]}"]


def test_wait_ends_with_0_where_the_run_succeeded_and_1_where_it_did_not(app: Celery, run: Run, dead: str) -> None:
    job_id = app.tasks["cli.add"].delay(1).job_id
    with working(app):
        good = run("wait", job_id, "--timeout", "15")
    assert good.exit_code == 0
    assert good.stdout.startswith(f"{job_id} ended as success after ")
    bad = run("wait", dead)
    assert bad.exit_code == 1
    assert "ended as dead_lettered" in bad.stdout
    assert "ValueError: no stock" in bad.stdout
    assert lines(run("wait", dead, "--json").stdout)[0]["final_status"] == "dead_lettered"


def test_wait_ends_with_5_after_its_timeout(app: Celery, run: Run) -> None:
    result = run("wait", app.tasks["cli.add"].delay(1).job_id, "--timeout", "0.1s")
    assert result.exit_code == 5
    assert "is still pending" in result.stderr


def test_a_text_that_is_broken_in_the_database_is_shown_all_the_same(app: Celery, run: Run, dead: str) -> None:
    plugin_of(app).db.run(lambda connection: connection.execute(table.update().values(error_message="\n\n")))
    assert run("list").exit_code == 0
    assert run("show", dead).exit_code == 0
