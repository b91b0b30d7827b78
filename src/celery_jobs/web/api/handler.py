"""The requests of the API: who asks, how often, for what; then one operation in a thread, and its answer as JSON."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from flower.views import BaseHandler
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, stream_request_body

from celery_jobs.audit import AuditedJobs
from celery_jobs.errors import JobsError
from celery_jobs.ids import new_id
from celery_jobs.plugin import plugin_of
from celery_jobs.tokens import InvalidToken, verify
from celery_jobs.web import grant, origin
from celery_jobs.web.api.bodies import LARGEST, read_json
from celery_jobs.web.api.checks import read_body, read_query
from celery_jobs.web.api.events import EVENTS, MEDIA_TYPE, Stream
from celery_jobs.web.api.openapi import OPERATIONS
from celery_jobs.web.api.operation import Call, Operation
from celery_jobs.web.api.problem import MEDIA_TYPE as PROBLEM
from celery_jobs.web.api.problem import Problem, problem_of
from celery_jobs.web.api.rates import Meter
from celery_jobs.web.threads import MOST_STREAMS, STREAMS, run

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin
    from celery_jobs.web.grant import Grant

__all__ = ["ApiHandler"]

ROOT = "/api/v1"
BEARER = "Bearer "

FAILURES = 10
"""Times a minute that one address may fail with one token, or to sign in."""

SLOWEST = 10.0
"""Seconds that a body may take."""

MOST_DRAINED = 16 * LARGEST
"""Bytes of a body that is too large which are still read, so that its sender reads why it is refused."""

NAMED = len("Bearer cjk_") + 12
"""Characters of an Authorization by which tokens are told apart; a guesser of one keeps no other out."""

_meters: WeakKeyDictionary[Any, tuple[Meter, Meter]] = WeakKeyDictionary()
"""Of each Flower: of the requests by token, and of those that failed to say who they are."""

_following = 0
_END = object()


@stream_request_body
class ApiHandler(BaseHandler):
    """One request to `/api/v1…`. Nothing of it is Flower's own but the sign-in and the options."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self) -> None:
        """Begin with an empty body."""
        self.request_id = new_id()
        self._requests, self._failures = _meters.setdefault(self.application, (Meter(), Meter()))
        self._body = bytearray()
        self._refused: Exception | None = None

    async def prepare(self) -> None:
        """Read who asks, and what for, before the body is read; what is refused is answered behind it.

        Answered before, a program would find its connection closed while it still sends.
        """
        self.request.connection.set_body_timeout(SLOWEST)
        self.request.connection.set_max_body_size(MOST_DRAINED)
        try:
            self._grant = await self._authenticated()
            self._meter()
            self._operation, self._place = self._found()
            self._require_allowed()
            self._require_small(int(self.request.headers.get("Content-Length") or 0))
        except (Problem, JobsError, HTTPError) as error:
            self._refused = error

    def data_received(self, chunk: bytes) -> None:
        """Take a part of the body, as long as it is not too large."""
        if self._refused is None:
            try:
                self._require_small(len(self._body) + len(chunk))
                self._body += chunk
            except Problem as error:
                self._refused = error

    async def _answer(self, *_: str) -> None:
        if self._refused is not None:
            self._refuse(self._refused)
            return
        try:
            if self._operation is EVENTS:
                await self._stream()
            else:
                answer = await run(self._operation.run, await run(self._call))
                for name, value in answer.headers.items():
                    self.set_header(name, value)
                self._write(answer.status, answer.body)
        except StreamClosedError:
            pass
        except Exception as error:
            self._refuse(error)

    get = head = post = delete = patch = put = options = _answer

    async def _authenticated(self) -> Grant:
        """Who asks: by a token, or by Flower's sign-in. Where Flower asks nobody, there are tokens alone."""
        header = self.request.headers.get("Authorization", "")
        who = f"{self.request.remote_ip} {header[:NAMED] if header.startswith(BEARER) else ''}"
        if wait := self._failures.is_full(who, FAILURES):
            raise Problem(429, "too many failed sign-ins from this address", headers={"Retry-After": str(wait)})
        options = self.application.options
        try:
            if header.startswith(BEARER):
                return grant.of_token(await run(verify, self._plugin, header.removeprefix(BEARER).strip()))
            if (options.basic_auth or options.auth) and self.current_user:
                origin_said = origin.is_foreign(self.request)
                self._require_own_site(origin_said)
                return grant.of_sign_in(self, self._plugin.settings.roles)
        except (InvalidToken, HTTPError) as error:
            if header:
                self._failures.take(who, FAILURES)
            if isinstance(error, HTTPError) and error.status_code != 401:
                raise
        raise Problem(
            401, "an API token is needed: Authorization: Bearer cjk_…", headers={"WWW-Authenticate": "Bearer"}
        )

    def _require_own_site(self, is_foreign: bool | None) -> None:
        """A browser sends what signs somebody in for every site; programs say nothing of where they are."""
        by_cookie = bool(self.application.options.auth)
        if is_foreign or (is_foreign is None and by_cookie and self.request.method != "GET"):
            raise HTTPError(403, "this request does not come from a page of this site")

    def _meter(self) -> None:
        token = self._grant.token
        if token is not None and (wait := self._requests.take(token.id, token.rate)):
            raise Problem(
                429, f"more than {token.rate:,} requests a minute with this token", headers={"Retry-After": str(wait)}
            )

    def _found(self) -> tuple[Operation, dict[str, str]]:
        path = self.request.path[len(self._root) :]
        found = [(operation, place) for operation in OPERATIONS if (place := operation.place(path)) is not None]
        # What a path says word for word is not the id of anything.
        fewest = min((len(place) for _, place in found), default=0)
        there = {operation.method: (operation, place) for operation, place in found if len(place) == fewest}
        if not there:
            raise Problem(404, f"there is no {path[:200]!r} here; {self._root}/openapi.json says what there is")
        if self.request.method in there:
            operation, place = there[self.request.method]
            return operation, {name: unquote(said) for name, said in place.items()}
        allowed = ", ".join(sorted(there))
        raise Problem(405, f"{self.request.method} is not for this; {allowed} is", headers={"Allow": allowed})

    def _require_allowed(self) -> None:
        operation = self._operation
        if not self._grant.allows(operation.scope):
            raise Problem(403, f"the scope {operation.scope} is needed; {self._grant.name} has not got it")
        if operation.changes and self.application.options.read_only:
            raise Problem(403, "Flower runs with --read_only: nothing can be changed here")

    def _require_small(self, size: int) -> None:
        if size > LARGEST:
            raise Problem(413, f"a body of at most {LARGEST:,} bytes is taken")

    def _call(self) -> Call:
        operation = self._operation
        given = {name: [value.decode("utf-8", "replace") for value in values] for name, values in self._query()}
        query = read_query(operation.query, given)
        headers = {name: value for name in operation.headers if (value := self.request.headers.get(name)) is not None}
        read_query(operation.headers, {name: [value] for name, value in headers.items()}, "the request")
        body = self._read_body(operation)
        jobs = AuditedJobs(self.application.capp, self._grant.actor("rest", self.request.remote_ip))
        return Call(self._plugin, jobs, self._grant, self._place, query, body, headers, self._root)

    def _query(self) -> Any:
        return self.request.query_arguments.items()

    def _read_body(self, operation: Operation) -> dict[str, Any]:
        if operation.body is None or not (self._body or operation.needs_body):
            return {}
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise Problem(415, "a body of the media type application/json is expected, not compressed")
        return read_body(operation, read_json(bytes(self._body)))

    async def _stream(self) -> None:
        """Send events until there are no more, the reader goes away, or the token is revoked."""
        global _following
        if _following >= MOST_STREAMS:
            raise Problem(503, f"{MOST_STREAMS} streams are open, no more are", headers={"Retry-After": "5"})
        _following += 1
        try:
            stream = await run(Stream, await run(self._call))
            self.set_header("Content-Type", MEDIA_TYPE)
            await self.flush()
            while not stream.is_over:
                events = iter(stream.slice())
                while (event := await run(next, events, _END, pool=STREAMS)) is not _END:
                    self.write(event)
                    await self.flush()
                await self._authenticated()
        finally:
            _following -= 1

    @property
    def _plugin(self) -> Plugin:
        return plugin_of(self.application.capp)

    @property
    def _root(self) -> str:
        prefix = (self.application.options.url_prefix or "").strip("/")
        return f"/{prefix}{ROOT}" if prefix else ROOT

    def _write(self, status: int, body: Any) -> None:
        self.set_status(status)
        if body is None:
            self.clear_header("Content-Type")
            self.finish()
        else:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps(body, ensure_ascii=False, default=str))

    def _refuse(self, error: Exception) -> None:
        """Answer with a problem. What is none of ours is in the log, under the request's id, and nowhere else."""
        problem = error if isinstance(error, Problem) else _problem_of(error)
        if problem.status == 500:
            log = logging.getLogger("celery_jobs")
            log.error("request %s to %s failed", self.request_id, self.request.path, exc_info=error)
        if self._headers_written:
            self.finish()
            return
        self.set_status(problem.status)
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", PROBLEM)
        self.finish(json.dumps(problem.to_json(self.request_id), ensure_ascii=False))

    def check_xsrf_cookie(self) -> None:
        """Nobody is signed in by a cookie alone: see `_require_own_site`."""

    def set_default_headers(self) -> None:
        """Not Flower's, which let every site read what it has where nobody signs in."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, HTTPError):
        return Problem(error.status_code, error.log_message or error.reason or "refused")
    return problem_of(error)
