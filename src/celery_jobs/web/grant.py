"""Who asks, and what they may: an API token's scopes, or the role of who has signed in to Flower."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery_jobs.audit import Actor
from celery_jobs.tokens import ROLES, Scope, allows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_jobs.store.tokens import Token

__all__ = ["Grant", "of_sign_in", "of_token", "role_of"]

NOBODY = "anonymous"


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may. `queues` None: of all queues; `is_signed_in` False: Flower asks nobody who they are."""

    name: str
    scopes: tuple[str, ...]
    queues: frozenset[str] | None = None
    token: Token | None = None
    is_signed_in: bool = True

    def allows(self, scope: Scope) -> bool:
        """Whether it includes a scope."""
        return allows(self.scopes, scope)

    def covers(self, queue: str) -> bool:
        """Whether it is for a queue."""
        return self.queues is None or queue in self.queues

    def actor(self, door: str, address: str | None) -> Actor:
        """Who acts, as the audit log has it."""
        return Actor(self.name, door, address, None if self.token is None else self.token.id)


def of_token(token: Token) -> Grant:
    """What a token is good for."""
    queues = None if token.queues is None else frozenset(token.queues)
    return Grant(f"token {token.name}", tuple(token.scopes), queues, token)


def of_sign_in(handler: Any, roles: Mapping[str, str]) -> Grant:
    """What who has signed in to Flower may; `handler`: of a request that Flower's own sign-in has let through.

    Where Flower asks nobody to sign in, anybody may look, at what is no job's data, and nobody may do anything.
    """
    options = handler.application.options
    if not (options.basic_auth or options.auth):
        return Grant(NOBODY, (Scope.READ,), is_signed_in=False)
    name = str(handler.current_user) if options.auth else _basic_name(handler.request.headers["Authorization"])
    role = role_of(name, roles)
    return Grant(name, () if role is None else ROLES[role])


def _basic_name(header: str) -> str:
    return b64decode(header.split()[1]).decode().partition(":")[0]


LONGEST_NAME = 320
"""Characters of an address (RFC 3696, errata); with several stars a pattern would take long for much more."""


def role_of(name: str, roles: Mapping[str, str]) -> str | None:
    """The role of a name: by `jobs_roles` word for word, else by the first of its patterns; admin where it is empty.

    A `*` stands for anything but an `@`; alone, for everybody (CVE-2022-30034 is what happens where it is more).
    """
    if not roles:
        return "admin"
    if name in roles:
        return roles[name]
    return next((role for pattern, role in roles.items() if _fits(pattern, name)), None)


def _fits(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    if len(name) > LONGEST_NAME:
        return False
    parts = map(re.escape, pattern.split("*"))
    return "*" in pattern and re.fullmatch("[^@]*".join(parts), name) is not None
