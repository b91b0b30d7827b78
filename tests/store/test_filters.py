"""Filters: each field alone and with others, on any text, and always what the same question in Python gives."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from celery_jobs.ids import new_id
from celery_jobs.states import FinalStatus, Status, parse_filter
from celery_jobs.store import chains, endings, looks, reads
from celery_jobs.store.filters import Filter
from celery_jobs.store.rows import Failure, Job
from tests.store.conftest import (
    FAILURE,
    begin,
    change,
    claim,
    complete,
    dead_letter,
    new_job,
    replay,
    retry,
    shift,
    store,
    stored,
)

if TYPE_CHECKING:
    from celery_jobs.store.db import Database
    from celery_jobs.store.rows import Claim


def found(db: Database, **which: Any) -> set[str]:
    return {chain[0].id for chain in reads.runs(db, Filter(**which), 1000).chains}


def failed_with(error_type: str = "ValueError", message: str = "card declined") -> Failure:
    return Failure("exception", error_type, message, None)


def dead_of(db: Database, error_type: str = "ValueError", message: str = "card declined", **overrides: Any) -> str:
    job = begin(db, **overrides)
    assert chains.bury(db, job, failed_with(error_type, message)) is not None
    return job.id


def chain_of(db: Database, attempts: int, **overrides: Any) -> Claim:
    """A claimed job that has failed `attempts` - 1 times."""
    job = begin(db, **overrides)
    for _ in range(attempts - 1):
        job = claim(db, retry(db, job).job_id)
    return job


# An empty database, and what is refused


EVERY_FIELD: dict[str, Any] = {
    "status": "pending",
    "final_status": "success",
    "queue": "shop",
    "task": "shop.charge",
    "tag": "vip",
    "error_type": "ValueError",
    "error": "declined",
    "created_after": datetime(2020, 1, 1, tzinfo=UTC),
    "created_before": datetime(2030, 1, 1, tzinfo=UTC),
    "dead_lettered_after": datetime(2020, 1, 1, tzinfo=UTC),
    "dead_lettered_before": datetime(2030, 1, 1, tzinfo=UTC),
    "attempts": 1,
    "original": new_id(),
    "replay_of": new_id(),
    "ended": False,
}


def test_the_test_knows_every_field() -> None:
    assert set(EVERY_FIELD) == set(Filter.__slots__)


def test_an_empty_database_has_nothing_for_any_filter(db: Database) -> None:
    for name, value in EVERY_FIELD.items():
        assert found(db, **{name: value}) == set()
        assert reads.count(db, Filter(**{name: value})) == (0, None)
    assert found(db, **EVERY_FIELD) == found(db) == set()


def test_a_filter_that_asks_nothing_means_every_run(db: Database) -> None:
    ids = {store(db), dead_letter(db), complete(db, store(db))}
    assert found(db) == ids
    assert Filter().is_empty
    assert not Filter(ended=False).is_empty


BAD: dict[str, tuple[str, Any]] = {
    "a status that is none": ("status", "lost"),
    "a status of another type": ("status", 3),
    "a status with NUL": ("status", "pend\x00ing"),
    "a final status that is none": ("final_status", "lost"),
    "a final status that is a status": ("final_status", "pending"),
    "a final status of another type": ("final_status", ["success"]),
    "a queue with NUL": ("queue", "sh\x00op"),
    "a queue with half a character": ("queue", "sh\ud800op"),
    "a queue of another type": ("queue", 7),
    "a task of another type": ("task", b"shop.charge"),
    "a tag with NUL": ("tag", "\x00"),
    "a tag of another type": ("tag", 7),
    "a tag as bytes": ("tag", b"vip"),
    "no tags": ("tag", []),
    "too many tags": ("tag", ["vip"] * 51),
    "tags of another type": ("tag", ["vip", 7]),
    "tags with NUL among them": ("tag", ["vip", "\x00"]),
    "tags as an object": ("tag", {"region": "eu"}),
    "an error type of another type": ("error_type", ValueError),
    "an error with NUL": ("error", "card\x00"),
    "an error of another type": ("error", 1),
    "a moment as text": ("created_after", "2026-01-01"),
    "a moment as a number": ("created_before", 0),
    "a moment as a list": ("dead_lettered_after", []),
    "a moment as a day": ("dead_lettered_before", datetime(2026, 1, 1, tzinfo=UTC).date()),
    "no attempts": ("attempts", 0),
    "negative attempts": ("attempts", -1),
    "too many attempts": ("attempts", 2**31),
    "attempts as text": ("attempts", "2"),
    "attempts as truth": ("attempts", True),
    "attempts in parts": ("attempts", 1.5),
    "an original that is no id": ("original", "order-7"),
    "an original of another type": ("original", 7),
    "a lineage that is no id": ("replay_of", "order-7"),
    "an end as text": ("ended", "yes"),
    "an end as number": ("ended", 1),
}


@pytest.mark.parametrize(("name", "value"), BAD.values(), ids=BAD)
def test_what_a_field_cannot_be_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        Filter(**{name: value})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="queu"):
        Filter(**{"queu": "shop"})  # type: ignore[arg-type]


# States


SPELLINGS = {
    "pending": ["pending", "PENDING", " Pending "],
    "dead_lettered": ["dead_lettered", "deadletter", "dead_letter", "DEAD", "dead-lettered", "Dead-Letter"],
    "failed_no_retries": ["failed_no_retries", "FAILED-NO-RETRIES"],
    "success": ["success", "SUCCESS"],
    "retrying": ["retrying", "RETRYING"],
}


@pytest.mark.parametrize(
    ("state", "spelling"), [(state, spelling) for state, all_ in SPELLINGS.items() for spelling in all_]
)
def test_a_state_is_understood_as_any_document_spells_it(state: str, spelling: str) -> None:
    assert parse_filter(spelling) == state


def test_a_final_status_is_that_of_the_chain_and_no_other(db: Database) -> None:
    dead, off = chain_of(db, 2), begin(db, retries_enabled=False)
    chains.bury(db, dead, FAILURE)
    chains.bury(db, off, FAILURE)
    assert found(db, final_status="deadletter") == {dead.original_id}
    assert found(db, final_status="failed_no_retries") == {off.id}
    assert found(db, final_status="failed_with_retries") == set()
    assert found(db, status="failed") == {dead.original_id, off.id}


def test_a_state_is_that_of_the_latest_attempt(db: Database) -> None:
    running, waiting = chain_of(db, 3), chain_of(db, 2)
    retry(db, waiting)
    assert found(db, status="processing") == {running.original_id}
    assert found(db, status="pending") == {waiting.original_id}
    assert found(db, status="failed") == set()
    assert found(db, status="pending", final_status="retrying") == {waiting.original_id}


def test_an_end_is_that_of_the_chain(db: Database) -> None:
    retried = chain_of(db, 2)
    waiting, done, cancelled = store(db), complete(db, store(db)), store(db)
    endings.cancel(db, cancelled)
    assert found(db, ended=False) == {retried.original_id, waiting}
    assert found(db, ended=True) == {done, cancelled}


# Tags


@pytest.mark.parametrize("tag", ["vip", "50% off", "a:b", "it's", 'say "hi"', "'; DROP TABLE jobs; --", "Ünïcode", "_"])
def test_a_tag_of_a_list_is_found_by_itself_and_by_nothing_else(db: Database, tag: str) -> None:
    job_id = store(db, tags=["other", tag])
    store(db, tags=["nothing", "like", "it"])
    store(db)
    assert found(db, tag=tag) == {job_id}
    assert found(db, tag=tag[:-1] + "?") == set()


def test_tags_are_exact_in_case_and_whole(db: Database) -> None:
    store(db, tags=["VIP customer"])
    assert found(db, tag="vip customer") == found(db, tag="VIP") == found(db, tag="%") == found(db, tag="") == set()


@pytest.mark.parametrize("tag", ["eu", "region:eu"])
def test_a_tag_of_an_object_is_found_by_value_and_by_pair(db: Database, tag: str) -> None:
    job_id = store(db, tags={"region": "eu", "tier": "gold"})
    store(db, tags={"region": "us", "eu": "region"})
    assert found(db, tag=tag) == {job_id}


def test_a_pair_of_an_object_must_be_one_pair(db: Database) -> None:
    store(db, tags={"region": "eu", "tier": "gold"})
    assert found(db, tag="region:gold") == found(db, tag="region") == found(db, tag="region:") == set()


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (-3, "-3"), (1.5, "1.5"), (True, "true"), (False, "false"), (2**40, str(2**40))]
)
def test_numbers_and_truths_are_found_as_json_writes_them(db: Database, value: Any, text: str) -> None:
    job_id = store(db, tags={"n": value})
    store(db, tags={"n": None, "m": "other"})
    assert found(db, tag=f"n:{text}") == found(db, tag=text) == {job_id}


WORTH = [(7.0, "7"), (9, "9.0"), (2.5, "2.50"), (-0.5, "-0.5"), (2**60 + 1, str(2**60 + 1)), (10**25, str(10**25))]


def test_numbers_are_found_by_what_they_are_worth(db: Database) -> None:
    for value, text in WORTH:
        job_id = store(db, tags={"n": value})
        assert found(db, tag=f"n:{text}") == found(db, tag=text) == {job_id}, text


def test_what_looks_like_a_number_or_a_path_is_a_text(db: Database) -> None:
    store(db, tags={"n": 1, "m": 16})
    for text in (
        "1e400000",
        "9" * 1000,
        "0x10",
        "1_0",
        "NaN",
        "\u0661",
        "--1",
        "$",
        '") || (1 == 1',
        "\x7f\t\U0001f600",
    ):
        job_id = store(db, tags=[text])
        assert found(db, tag=text) == {job_id}, text
        assert found(db, tag=f"n:{text}") == set(), text


def test_what_is_nested_is_no_tag(db: Database) -> None:
    store(db, tags={"regions": ["eu", "us"], "deep": {"region": "eu", "n": [1]}})
    for tag in ("eu", "regions:eu", "region:eu", "deep:region:eu", '["eu","us"]', '["eu", "us"]', "1"):
        assert found(db, tag=tag) == set(), tag


def test_several_tags_are_all_asked_for(db: Database) -> None:
    both = store(db, tags=["vip", "eu", "new"])
    pairs = store(db, tags={"kind": "vip", "region": "eu"})
    store(db, tags=["vip"])
    store(db, tags=["eu"])
    assert found(db, tag=["vip", "eu"]) == found(db, tag=("eu", "vip", "eu")) == {both, pairs}
    assert found(db, tag=["vip", "region:eu"]) == {pairs}
    assert found(db, tag=["vip", "none"]) == set()
    assert reads.count(db, Filter(tag=["vip", "eu"]))[0] == 2


def test_a_tag_of_many_colons_is_found(db: Database) -> None:
    colons = ":".join("ab" * 30)
    job_id = store(db, tags=[colons])
    pair = store(db, tags={"a:b": colons})
    assert found(db, tag=colons) == {job_id, pair}
    assert found(db, tag=f"a:b:{colons}") == {pair}


def test_a_retry_has_the_tags_of_its_chain_which_is_found_once(db: Database) -> None:
    chain = chain_of(db, 3, tags=["vip"])
    assert [job.tags for job in reads.attempts(db, chain.original_id)] == [["vip"]] * 3
    assert found(db, tag="vip") == found(db, tag="vip", status="processing") == {chain.original_id}
    assert reads.count(db, Filter(tag="vip"))[0] == 1


def test_as_many_runs_with_a_tag_as_a_look_takes_and_more_are_all_found(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found by the index of the tags, or, where they are too many for it, among all jobs."""
    ids = {store(db, tags=["vip"]) for _ in range(12)}
    monkeypatch.setattr(looks, "FIRST_LOOKED_AT", 2)
    for most in (5, 12, 13, 23, 24, 25):
        monkeypatch.setattr(looks, "LOOKED_AT", most)
        seen, cursor = set(), None
        while True:
            page = reads.runs(db, Filter(tag="vip"), 4, cursor)
            seen |= {chain[0].id for chain in page.chains}
            if (cursor := page.cursor) is None:
                break
        assert seen == ids, most
        assert reads.count(db, Filter(tag="vip"))[0] == 12


def test_a_null_is_no_tag(db: Database) -> None:
    store(db, tags={"n": None})
    assert found(db, tag="n:null") == found(db, tag="null") == found(db, tag="n:None") == set()


@pytest.mark.parametrize(("key", "value"), [("url", "http://x"), ("a:b", "c"), ("it's", "a'b"), ("k", ""), ("%", "_")])
def test_a_pair_is_found_with_colons_and_quotes_in_it(db: Database, key: str, value: str) -> None:
    job_id = store(db, tags={key: value})
    store(db, tags={"k": "other", "x": "y"})
    assert found(db, tag=f"{key}:{value}") == {job_id}


def test_a_place_in_a_list_is_no_key(db: Database) -> None:
    store(db, tags=["a", "b"])
    assert found(db, tag="0:a") == found(db, tag="1:b") == set()


def test_lists_and_objects_without_tags_have_none(db: Database) -> None:
    store(db, tags=[])
    store(db, tags={})
    assert found(db, tag="[]") == found(db, tag="{}") == set()


# Errors


@pytest.mark.parametrize(
    "text", ["100%", "a_b", "back\\slash", "it's", "Straße", "ÉCLAIR", "日本", "'; DROP TABLE jobs"]
)
def test_an_error_is_found_by_a_text_in_its_message_in_any_case(db: Database, text: str) -> None:
    job_id = dead_of(db, message=f"before {text} after")
    dead_of(db, message="100 a-b backslash its Strasse eclair")
    assert found(db, error=text) == {job_id}
    assert found(db, error=text.lower()) == {job_id}
    assert found(db, error=f"FORE {text.lower()} AF") == {job_id}


@pytest.mark.parametrize("wild", ["c%d", "car_", "%", "_", "card\\"])
def test_wildcards_in_a_search_are_plain_text(db: Database, wild: str) -> None:
    dead_of(db, message="card declined")
    assert found(db, error=wild) == set()


def test_an_error_is_the_chains_last(db: Database) -> None:
    job = begin(db)
    outcome = chains.retry(db, job, failed_with("KeyError", "first"), chains.Next(by_policy=True), 5)
    assert isinstance(outcome, chains.Retried)
    chains.bury(db, claim(db, outcome.job_id), failed_with("TypeError", "second"))
    assert found(db, error="second") == found(db, error_type="TypeError") == {job.id}
    assert found(db, error="first") == found(db, error_type="KeyError") == set()


def test_an_error_type_is_found_with_and_without_its_module(db: Database) -> None:
    job_id = dead_of(db, "shop.errors.CardDeclined")
    other = dead_of(db, "shop.errors.NotCardDeclined")
    for name in ("CardDeclined", "errors.CardDeclined", "shop.errors.CardDeclined"):
        assert found(db, error_type=name) == {job_id}
    assert found(db, error_type="NotCardDeclined") == {other}


@pytest.mark.parametrize("name", ["carddeclined", "Declined", "%", "C_rdDeclined", "", ".CardDeclined", "shop.errors"])
def test_an_error_type_is_exact(db: Database, name: str) -> None:
    dead_of(db, "shop.errors.CardDeclined")
    assert found(db, error_type=name) == set()


# Times


def test_created_and_dead_lettered_are_from_and_before(db: Database) -> None:
    old = dead_letter(db)
    shift(db, 3600)
    new = dead_letter(db)
    between = stored(db, new).created_at
    assert found(db, created_after=between) == {new}
    assert found(db, created_before=between) == {old}
    died = stored(db, new).dead_lettered_at
    assert died is not None
    assert found(db, dead_lettered_after=died) == {new}
    assert found(db, dead_lettered_before=died) == {old}
    assert found(db, dead_lettered_after=died, dead_lettered_before=died) == set()


def test_what_is_not_dead_has_no_time_of_death(db: Database) -> None:
    store(db)
    complete(db, store(db))
    assert found(db, dead_lettered_before=datetime(2100, 1, 1, tzinfo=UTC)) == set()
    assert found(db, dead_lettered_after=datetime(1990, 1, 1, tzinfo=UTC)) == set()


def test_moments_are_understood_in_any_zone_and_naive_ones_as_utc(db: Database) -> None:
    job_id = store(db)
    shift(db, 600)
    created = stored(db, job_id).created_at
    kathmandu = created.astimezone(timezone(timedelta(hours=5, minutes=45)))
    for moment in (created, kathmandu, created.replace(tzinfo=None)):
        assert found(db, created_after=moment) == {job_id}
        assert found(db, created_before=moment) == set()


@pytest.mark.parametrize("moment", [datetime.min, datetime.max, datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_are_moments(db: Database, moment: datetime) -> None:
    job_id = store(db)
    expected = {job_id} if moment.year == 1 else set()
    assert found(db, created_after=moment) == expected


# Attempts and lineage


def test_attempts_are_those_begun_so_far(db: Database) -> None:
    once, thrice = store(db), chain_of(db, 3)
    assert found(db, attempts=1) == {once}
    assert found(db, attempts=2) == set()
    assert found(db, attempts=3) == {thrice.original_id}


def test_an_original_is_one_run(db: Database) -> None:
    job = chain_of(db, 2)
    store(db)
    assert found(db, original=job.original_id) == {job.original_id}
    assert found(db, original=job.id) == set()


@pytest.mark.parametrize("spell", [str.upper, lambda id: id.replace("-", ""), "{{{}}}".format, "urn:uuid:{}".format])
def test_an_id_is_understood_in_any_spelling(db: Database, spell: Any) -> None:
    original = dead_letter(db)
    replayed = replay(db, new_job(replay_of=original)).job_id
    assert found(db, original=spell(original)) == {original}
    assert found(db, replay_of=spell(original)) == {replayed}


def test_replays_are_found_by_what_they_replay(db: Database) -> None:
    original = dead_letter(db)
    first = replay(db, new_job(replay_of=original)).job_id
    second = replay(db, new_job(replay_of=original), force=True).job_id
    chains.bury(db, claim(db, first), FAILURE)
    third = replay(db, new_job(replay_of=first)).job_id
    assert found(db, replay_of=original) == {first, second}
    assert found(db, replay_of=first) == {third}
    assert found(db, replay_of=third) == set()


# Two together, and all of it against plain Python


def test_fields_narrow_each_other(db: Database) -> None:
    mine = dead_of(db, "shop.Lost", "gone", queue="mail", tags=["vip"])
    dead_of(db, "shop.Lost", "gone", queue="shop", tags=["vip"])
    dead_of(db, "shop.Lost", "here", queue="mail")
    assert found(db, queue="mail", tag="vip") == {mine}
    assert found(db, error="gone", queue="mail", status="dead") == {mine}
    assert found(db, error="gone", queue="mail", status="success") == set()


def _is_in_state(chain: list[Job], name: str) -> bool:
    state = parse_filter(name)
    return chain[0].final_status == state if isinstance(state, FinalStatus) else chain[-1].status == state


def _has_tags(chain: list[Job], asked: str | list[str]) -> bool:
    return all(_has_tag(chain, tag) for tag in ([asked] if isinstance(asked, str) else asked))


def _has_tag(chain: list[Job], tag: str) -> bool:
    tags = chain[0].tags
    if isinstance(tags, dict):
        return any(tag in (_text(value), f"{key}:{_text(value)}") for key, value in tags.items() if value is not None)
    return tag in (tags or [])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _last_error(chain: list[Job], name: str) -> str:
    return str(getattr(chain[0], f"last_{name}") or getattr(chain[0], name) or "")


def _died(chain: list[Job], test: Any) -> bool:
    moment = chain[0].dead_lettered_at
    return moment is not None and bool(test(moment))


PREDICATES: dict[str, Any] = {
    "status": _is_in_state,
    "final_status": lambda chain, value: chain[0].final_status == parse_filter(value),
    "queue": lambda chain, value: chain[0].queue == value,
    "task": lambda chain, value: chain[0].task == value,
    "tag": _has_tags,
    "error_type": lambda chain, value: f".{_last_error(chain, 'error_type')}".endswith(f".{value}"),
    "error": lambda chain, value: value.lower() in _last_error(chain, "error_message").lower(),
    "created_after": lambda chain, value: chain[0].created_at >= value,
    "created_before": lambda chain, value: chain[0].created_at < value,
    "dead_lettered_after": lambda chain, value: _died(chain, lambda moment: moment >= value),
    "dead_lettered_before": lambda chain, value: _died(chain, lambda moment: moment < value),
    "attempts": lambda chain, value: len(chain) == value,
    "original": lambda chain, value: chain[0].id == value,
    "replay_of": lambda chain, value: chain[0].replay_of == value,
    "ended": lambda chain, value: (chain[0].ended_at is not None) is value,
}

TAGS = [
    None,
    [],
    ["vip"],
    ["a:1", "b"],
    {"a": 1},
    {"a": "1", "b": None},
    {"vip": True},
    {"region": "eu:west", "n": 2.5},
]
ERRORS = [("ValueError", "100% wrong"), ("shop.Lost", "a_b lost"), ("shop.valueerror", "Wrong"), ("KeyError", "'ab'")]


def _mixed_chain(db: Database, draw: random.Random, dead: list[str]) -> None:
    made: dict[str, Any] = {
        "queue": draw.choice(["shop", "mail"]),
        "task": draw.choice(["shop.charge", "mail.send"]),
        "tags": draw.choice(TAGS),
        "retries_enabled": draw.random() < 0.8,
    }
    if dead and draw.random() < 0.3:
        job_id = replay(db, new_job(replay_of=draw.choice(dead), **made), force=True).job_id
    else:
        job_id = store(db, **made)
    end = draw.choice(["wait", "run", "succeed", "die", "die", "cancel"])
    if end in ("wait", "cancel") and draw.random() < 0.5:
        if end == "cancel":
            endings.cancel(db, job_id)
        return
    job = claim(db, job_id)
    for _ in range(draw.choice([0, 0, 1, 2])):
        outcome = chains.retry(db, job, failed_with(*draw.choice(ERRORS)), chains.Next(by_policy=True), 5)
        assert isinstance(outcome, chains.Retried)
        job = claim(db, outcome.job_id)
    if end == "succeed":
        chains_done = _complete(db, job)
        assert chains_done
    elif end == "die":
        chains.bury(db, job, failed_with(*draw.choice(ERRORS)))
        dead.append(job.original_id)
    elif end == "cancel":
        endings.release(db, job.id, job.lease_token)
        endings.cancel(db, job.original_id)


def _complete(db: Database, job: Claim) -> bool:
    from celery_jobs.store.attempts import complete as complete_claim

    return bool(complete_claim(db, job, '"done"', 5))


def _question(draw: random.Random, chains_: list[list[Job]]) -> dict[str, Any]:
    some = [draw.choice(chains_) for _ in range(6)]
    created = [chain[0].created_at for chain in some]
    died = [chain[0].dead_lettered_at for chain in chains_ if chain[0].dead_lettered_at is not None]
    choices: dict[str, list[Any]] = {
        "status": [*Status, *FinalStatus, "DEAD", "deadletter"],
        "final_status": list(FinalStatus),
        "queue": ["shop", "mail", "nobody"],
        "task": ["shop.charge", "mail.send"],
        "tag": [
            *("vip", "a:1", "1", "b", "true", "vip:true", "eu:west", "region:eu:west", "n:2.5", "0:vip", "a"),
            *(["a:1", "b"], ["2.5", "region:eu:west"], ["1", "a:1"], ["vip", "b"]),
        ],
        "error_type": ["ValueError", "Lost", "shop.Lost", "valueerror", "KeyError"],
        "error": ["%", "_", "WRONG", "lost", "'", "b lo"],
        "created_after": created,
        "created_before": created,
        "dead_lettered_after": died,
        "dead_lettered_before": died,
        "attempts": [1, 2, 3, 4],
        "original": [chain[0].id for chain in some],
        "replay_of": [chain[0].replay_of or chain[0].id for chain in some],
        "ended": [True, False],
    }
    names = draw.sample(sorted(choices), draw.choice([1, 1, 2, 2, 3]))
    return {name: draw.choice(choices[name]) for name in names}


def test_a_filter_gives_what_the_same_question_gives_in_python(db: Database) -> None:
    draw = random.Random(20260410)
    dead: list[str] = []
    for _ in range(50):
        _mixed_chain(db, draw, dead)
    everything = reads.runs(db, Filter(), 1000).chains
    assert len(everything) == 50
    hits = 0
    for _ in range(300):
        which = _question(draw, everything)
        expected = {chain[0].id for chain in everything if all(PREDICATES[name](chain, which[name]) for name in which)}
        assert found(db, **which) == expected, which
        assert reads.count(db, Filter(**which))[0] == len(expected), which
        hits += len(expected)
    assert hits > 500  # the questions are not all empty ones


def test_the_latest_attempt_is_found_without_reading_every_row(db: Database) -> None:
    """A list by state must not take the square of the number of runs."""
    from celery_jobs.store.enqueue import enqueue_all

    enqueue_all(db, [new_job() for _ in range(1500)])
    (last,) = reads.runs(db, Filter(), 1).chains
    change(db, last[0].id, priority=7)
    started = datetime.now(UTC)
    assert len(reads.runs(db, Filter(status="pending"), 50).chains) == 50
    assert reads.count(db, Filter(status="processing"))[0] == 0
    assert (datetime.now(UTC) - started).total_seconds() < 2
