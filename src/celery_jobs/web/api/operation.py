"""What an operation of the API is: where it is, what it takes and gives, who may, and the function that does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery_jobs.web.api.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_jobs.audit import AuditedJobs
    from celery_jobs.plugin import Plugin
    from celery_jobs.tokens import Scope
    from celery_jobs.web.grant import Grant

__all__ = ["Answer", "Call", "Operation", "Schema"]

Schema = dict[str, Any]
"""A JSON Schema (draft 2020-12), as OpenAPI 3.1 has them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation gives. `body`: JSON; None: nothing."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked by its schemas. `place`: what its path names; `root`: the path of the API."""

    plugin: Plugin
    jobs: AuditedJobs
    grant: Grant
    place: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    root: str

    def own(self, id: str) -> str:
        """An id that who asks may see; of another queue's job is told what is told of none."""
        if self.grant.queues is not None and not self.grant.covers(self.jobs.get(id).queue):
            raise Problem(404, f"no job with the id {id!r}", code="job_not_found")
        return id

    def queues(self, asked: Any) -> Any:
        """The queues of a filter: those that were asked for, as far as who asks may see them."""
        bound = self.grant.queues
        if bound is None:
            return asked
        if asked is None:
            return sorted(bound)
        if asked not in bound:
            raise Problem(403, f"this token is not for the queue {asked!r}", field="queue")
        return asked

    def queue(self, asked: str | None) -> str | None:
        """The queue of a new job; who is bound to one queue need not say it."""
        bound = self.grant.queues
        if bound is None:
            return asked
        if asked is None and len(bound) == 1:
            return next(iter(bound))
        if asked is None:
            raise Problem(422, "this token is for some queues: name one of them", field="queue")
        return str(self.queues(asked))


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `query`, `headers`: parameters by name.

    `body`: the schema of the body, None: it has none; `answers`: what each status says, with the schema of its body;
    `gives`: their media type.
    """

    method: str
    path: str
    scope: Scope
    summary: str
    run: Callable[[Call], Answer]
    answers: Mapping[int, tuple[str, Schema | None]]
    tag: str = "jobs"
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    needs_body: bool = True
    gives: str = "application/json"

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def name(self) -> str:
        """What it is called in the description."""
        return self.run.__name__

    def place(self, path: str) -> dict[str, str] | None:
        """What a path names, where it is one of this operation."""
        mine, given = self.path.strip("/").split("/"), path.strip("/").split("/")
        if len(mine) != len(given) or not all(given):
            return None
        pairs = list(zip(mine, given, strict=True))
        if any(part != said for part, said in pairs if not part.startswith("{")):
            return None
        return {part[1:-1]: said for part, said in pairs if part.startswith("{")}
