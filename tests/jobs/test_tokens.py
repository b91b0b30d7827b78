from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from celery_jobs import InvalidToken, Jobs, TokenNotFound
from celery_jobs.plugin import plugin_of
from celery_jobs.store.tables import tokens
from celery_jobs.tokens import Scope, allows, verify
from tests.processes import wait_until

if TYPE_CHECKING:
    from celery import Celery

    from celery_jobs.store.db import Database


def test_a_token_is_shown_once_and_known_by_its_digest(app: Celery, doors: Jobs, db: Database) -> None:
    made = doors.make_token("ci", ["read", "enqueue"], queues=["b", "a", "a"], rate=60, by="ada")
    assert re.fullmatch(r"cjk_[A-Za-z0-9]{12}_[A-Za-z0-9]{49}", made.text)
    found = verify(plugin_of(app), made.text)
    assert (found.name, found.scopes, found.queues, found.rate) == ("ci", ["read", "enqueue"], ["a", "b"], 60)
    assert (found.created_by, found.last4) == ("ada", made.text[-10:-6])
    secret = made.text.split("_")[2]
    with db.reading() as connection:
        row = connection.execute(select(tokens)).one()
    assert not any(secret[:43] in str(value) for value in row)
    assert secret not in repr(doors.tokens())


def test_no_two_are_alike(doors: Jobs) -> None:
    texts = {doors.make_token("ci", ["read"]).text for _ in range(20)}
    assert len({text.split("_")[1] for text in texts}) == len({text.split("_")[2] for text in texts}) == 20


def test_its_use_is_noted(app: Celery, doors: Jobs) -> None:
    made = doors.make_token("ci", ["read"])
    assert doors.tokens()[0].last_used_at is None
    verify(plugin_of(app), made.text)
    used_at = doors.tokens()[0].last_used_at
    assert used_at is not None
    verify(plugin_of(app), made.text)
    assert doors.tokens()[0].last_used_at == used_at  # to the minute


@pytest.mark.parametrize("change", ["secret", "name", "check", "cut", "start", "nothing", "letters"])
def test_a_wrong_text_is_no_token(app: Celery, doors: Jobs, change: str) -> None:
    text = doors.make_token("ci", ["read"]).text
    other = doors.make_token("cd", ["read"]).text
    wrong = {
        "secret": text[:17] + other[17:],
        "name": other[:16] + text[16:],
        "check": text[:-6] + "AAAAAA",
        "cut": text[:-1],
        "start": "sk_" + text[4:],
        "nothing": "",
        "letters": text[:20] + "é" + text[21:],
    }
    with pytest.raises(InvalidToken):
        verify(plugin_of(app), wrong[change])


def test_a_revoked_one_is_refused_at_once_and_stays_as_it_was(app: Celery, doors: Jobs) -> None:
    made = doors.make_token("ci", ["read"])
    first = doors.revoke_token(made.token.prefix, by="ada")
    again = doors.revoke_token(made.token.id, by="bob")
    assert (again.revoked_at, again.revoked_by) == (first.revoked_at, "ada")
    with pytest.raises(InvalidToken):
        verify(plugin_of(app), made.text)
    with pytest.raises(TokenNotFound):
        doors.revoke_token("nobody")


def test_one_that_is_over_is_refused(app: Celery, doors: Jobs) -> None:
    made = doors.make_token("ci", ["read"], expires=datetime.now(UTC) + timedelta(seconds=1))

    def is_refused() -> bool:
        try:
            verify(plugin_of(app), made.text)
        except InvalidToken:
            return True
        return False

    assert not is_refused() or datetime.now(UTC) > made.token.created_at + timedelta(seconds=1)
    wait_until(is_refused)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("name", {"name": " "}),
        ("name", {"name": "x" * 256}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": "read"}),
        ("scopes", {"scopes": ["write"]}),
        ("queues", {"queues": []}),
        ("queues", {"queues": "a"}),
        ("queues", {"queues": ["a"], "scopes": ["admin"]}),
        ("rate", {"rate": 0}),
        ("rate", {"rate": True}),
        ("expires", {"expires": -1}),
        ("expires", {"expires": datetime(2020, 1, 1, tzinfo=UTC)}),
    ],
)
def test_what_is_wrong_is_said(doors: Jobs, field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        doors.make_token(**{"name": "ci", "scopes": ["read"], **options})
    assert doors.tokens() == []


def test_scopes_include_each_other_where_they_should() -> None:
    held = {scope: {asked for asked in Scope if allows([scope], asked)} for scope in Scope}
    assert held[Scope.ADMIN] == set(Scope)
    assert held[Scope.OPERATE] == {Scope.OPERATE, Scope.WORK}
    for scope in (Scope.READ, Scope.ENQUEUE, Scope.WORK):
        assert held[scope] == {scope}
