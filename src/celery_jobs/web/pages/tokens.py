"""The page API tokens: those that there are, new ones, and the end of one."""

from __future__ import annotations

from typing import Any

from celery_jobs.amounts import read_expiry
from celery_jobs.tokens import RATE, Scope
from celery_jobs.web.page import Page, Shown

__all__ = ["TokensPage"]

MEANINGS = {
    Scope.READ: "see jobs, queues, schedules, events",
    Scope.ENQUEUE: "make jobs",
    Scope.WORK: "claim the jobs of pull queues and end them",
    Scope.OPERATE: "cancel, replay, fire, pause, resume; also what work may",
    Scope.ADMIN: "delete, purge, erase, make schedules; also all the others",
}


class TokensPage(Page):
    """Tokens. A new one is on the answer to its making and nowhere else."""

    template = "tokens.html"
    tab = "jobs"
    scope = acts = Scope.ADMIN

    def read(self, *_: str) -> dict[str, Any]:
        """All tokens."""
        return self._shown()

    def _shown(self, made: Any = None, problem: str | None = None, said: Any = None) -> dict[str, Any]:
        known = {"rate": str(RATE), "scopes": ["read"], **(said or {})}
        shown = {"tokens": self.jobs.tokens(), "meanings": MEANINGS, "made": made}
        return {**shown, "problem": problem, "said": known}

    def act(self, *_: str) -> str | Shown:
        """Make one, or end one."""
        if revoked := self.field("revoke"):
            token = self.jobs.revoke_token(revoked, by=self.grant.name)
            self.notify(f"the token {token.name} is revoked")
            return "/jobs/tokens"
        scopes = self.given(self.request.body_arguments).get("scopes", [])
        said = {"scopes": scopes, **{name: self.field(name).strip() for name in ("name", "queues", "expires", "rate")}}
        try:
            return Shown(self.template, self._shown(self._make(said)))
        except ValueError as error:
            return Shown(self.template, self._shown(problem=str(error), said=said), 422)

    def _make(self, said: dict[str, Any]) -> Any:
        queues = [queue.strip() for queue in said["queues"].split(",") if queue.strip()]
        expires, rate = None, said["rate"]
        if said["expires"]:
            try:
                expires = read_expiry(said["expires"])
            except ValueError as error:
                raise ValueError(f"expires: {error}") from None
        number = int(rate) if rate.isascii() and rate.isdecimal() and len(rate) < 10 else rate
        return self.jobs.make_token(said["name"], said["scopes"], queues or None, expires, number, by=self.grant.name)
