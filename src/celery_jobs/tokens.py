"""API tokens: made, shown once, checked, revoked. Who has one may what its scopes say, in its queues.

A token is `cjk_`, 12 characters that name it, `_`, 43 that are secret (256 bits), and 6 that check the rest, by which
scanners of repositories tell it from other text. Of the secret the database has a SHA-256, no slow hash: nobody guesses
256 bits (OWASP, Cryptographic Storage).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celery_jobs.errors import LONGEST_WAIT, JobsError
from celery_jobs.ids import new_id
from celery_jobs.options import is_json, take_moment
from celery_jobs.store import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.tokens import Token

__all__ = ["ROLES", "NewToken", "Scope", "Tokens", "allows", "verify"]

START = "cjk_"
_LETTERS = string.ascii_letters + string.digits
_NAMED, _SECRET, _CHECKED = 12, 43, 6

LONGEST_NAME = 255
"""Characters."""

RATE, MOST = 600, 1_000_000
"""Requests a minute where nothing is said, and at most."""


class InvalidToken(JobsError):
    """An API token is none, has ended or was revoked; which of these is not told."""


class TokenNotFound(JobsError, LookupError):
    """No API token has this id or prefix."""


class Scope(StrEnum):
    """What a token, or who signs in, may do."""

    READ = "read"
    """See runs, queues, schedules, events."""
    ENQUEUE = "enqueue"
    """Make jobs."""
    WORK = "work"
    """Claim the jobs of pull queues and say how they ended, as outside workers do."""
    OPERATE = "operate"
    """Cancel, replay and fire runs, pause queues and schedules; also what WORK may."""
    ADMIN = "admin"
    """Delete, purge and erase runs, make schedules and tokens, read the audit log; also all the others."""


ROLES: dict[str, tuple[Scope, ...]] = {
    "viewer": (Scope.READ,),
    "operator": (Scope.READ, Scope.ENQUEUE, Scope.OPERATE),
    "admin": (Scope.ADMIN,),
}
"""What `jobs_roles` gives to who signs in."""


def allows(scopes: Iterable[str], asked: Scope) -> bool:
    """Whether scopes include another."""
    held = set(scopes)
    return Scope.ADMIN in held or asked in held or (asked is Scope.WORK and Scope.OPERATE in held)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token at its making: `text` is never to be had again."""

    text: str
    token: Token

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {**self.token.to_json(), "text": self.text}


class Tokens:
    """The verbs of `Jobs` for API tokens."""

    _plugin: Plugin

    def make_token(
        self,
        name: str,
        scopes: Iterable[str],
        queues: Iterable[str] | None = None,
        expires: datetime | float | None = None,
        rate: int = RATE,
        by: str | None = None,
    ) -> NewToken:
        """Make an API token. Its text is in the answer and nowhere else.

        `scopes`: of read, enqueue, work, operate, admin; `queues`: those it is for, None: all, and ADMIN has all;
        `expires`: a moment, or seconds from now; `rate`: requests a minute. Raises ValueError naming the argument.
        """
        values = {
            "name": _name(name),
            "scopes": _scopes(scopes),
            "queues": _queues(queues, scopes),
            "rate": _rate(rate),
            "created_by": by,
        }
        named, secret = _drawn(_NAMED), _drawn(_SECRET)
        text = f"{START}{named}_{secret}"
        values.update(id=new_id(), prefix=named, last4=secret[-4:])
        token = tokens.make(self._plugin.db, _digest(secret), _expires(expires), **values)
        return NewToken(text + _check_of(text), token)

    def tokens(self) -> list[Token]:
        """All API tokens, the newest first, also those that are over."""
        return tokens.every(self._plugin.db)

    def revoke_token(self, name: str, by: str | None = None) -> Token:
        """End an API token by its id or its prefix: its next request is refused. Raises TokenNotFound."""
        token = tokens.revoke(self._plugin.db, name, by)
        if token is None:
            raise TokenNotFound(name)
        return token


def verify(plugin: Plugin, text: str) -> Token:
    """The token of a text, which is noted as used; raises InvalidToken for what is none, is over or is not in force.

    An unknown one costs the same comparison as a known one.
    """
    named, secret = _parts(text)
    found = tokens.find(plugin.db, named)
    token, digest = found if found is not None else (None, _digest(""))
    if not hmac.compare_digest(digest, _digest(secret)) or token is None:
        raise InvalidToken
    tokens.note_use(plugin.db, token.id)
    return token


def _parts(text: str) -> tuple[str, str]:
    body, check = text[:-_CHECKED], text[-_CHECKED:]
    named, _, secret = body.removeprefix(START).partition("_")
    is_whole = len(named) == _NAMED and len(secret) == _SECRET and body.startswith(START)
    if not (text.isascii() and is_whole and hmac.compare_digest(check, _check_of(body))):
        raise InvalidToken
    return named, secret


def _drawn(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_of(text: str) -> str:
    """Six characters of a CRC, as other makers of tokens have them."""
    number, check = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKED):
        number, place = divmod(number, len(_LETTERS))
        check += _LETTERS[place]
    return check


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not is_json(name):
        raise ValueError(f"name: a text of 1 to {LONGEST_NAME} characters is expected, not {name!r}")
    return name


def _scopes(scopes: Any) -> list[str]:
    given = [] if isinstance(scopes, str) else list(scopes)
    if not given or not set(given) <= set(Scope):
        raise ValueError(f"scopes: one or more of {', '.join(Scope)} are expected, not {scopes!r}")
    return [str(scope) for scope in Scope if scope in given]


def _queues(queues: Any, scopes: Iterable[str]) -> list[str] | None:
    if queues is None:
        return None
    given = [] if isinstance(queues, str) else list(queues)
    if not given or not all(isinstance(queue, str) and queue and is_json(queue) for queue in given):
        raise ValueError(f"queues: a list of names is expected, not {queues!r}")
    if Scope.ADMIN in scopes:
        raise ValueError("queues: a token with the scope admin is not bound to queues; give it operate")
    return sorted(set(given))


def _rate(rate: Any) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1 <= rate <= MOST:
        raise ValueError(f"rate: a whole number of requests a minute, 1 to {MOST:,}, is expected, not {rate!r}")
    return rate


def _expires(expires: Any) -> Any:
    if isinstance(expires, datetime):
        moment = take_moment("expires", expires)
        if moment <= datetime.now(UTC):
            raise ValueError(f"expires: a moment to come is expected, not {moment}")
        return moment
    if expires is not None and (
        isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 < expires <= LONGEST_WAIT
    ):
        raise ValueError(f"expires: a moment, or seconds above 0, {LONGEST_WAIT:,} at most, not {expires!r}")
    return expires
