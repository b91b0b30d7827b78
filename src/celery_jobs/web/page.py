"""What every page has: who asks and what they may, headers, its data read in a thread, its acts, errors as pages."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler, authenticated

import celery_jobs
from celery_jobs import words
from celery_jobs.audit import AuditedJobs
from celery_jobs.errors import JobsError, StoreUnavailable
from celery_jobs.plugin import plugin_of
from celery_jobs.tokens import Scope
from celery_jobs.web import grant, origin
from celery_jobs.web.faults import status_of
from celery_jobs.web.threads import run

if TYPE_CHECKING:
    from celery_jobs.plugin import Plugin

__all__ = ["Changed", "Elsewhere", "Page", "Shown"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""What a page may load and do: files of this site; nothing inside of it is a script."""

LONGEST_FIELD = 65_536
"""Characters of one field of a form; a payload has more room in the REST API."""

NOTICE = "jobs_notice"
"""The cookie that carries what an act said over to the page that is shown after it."""


class Elsewhere(Exception):
    """What was asked for is on another page of ours, at this path."""


class Changed(JobsError):
    """What was to be done is not what it was when it was looked at; nothing was done."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page that an act shows at once, instead of leading to one. `status`: of the answer."""

    template: str
    values: dict[str, Any]
    status: int = 200


class Page(BaseHandler):
    """A page. `template`: its name; `tab`: the one of TABS that it stands under.

    `read(*place)` gives what its template shows, `act(*place)` does what its forms ask for and gives where to go on, or
    what to show; both run in a thread. `scope`: who may see it; `acts`: who may act on it.
    """

    template = ""
    tab = "jobs"
    scope = Scope.READ
    acts = Scope.OPERATE

    grant: grant.Grant
    jobs: AuditedJobs

    def read(self, *place: str) -> dict[str, Any]:
        """What the template shows."""
        raise NotImplementedError

    def act(self, *place: str) -> str | Shown:
        """Do what was asked for; the path of ours to go on with, or what to show."""
        raise HTTPError(405)

    # Flower's own sends a browser that has not signed in to where it can.
    @authenticated
    def prepare(self) -> None:
        """Find out who asks."""
        self.grant = grant.of_sign_in(self, self.plugin.settings.roles)
        self.jobs = AuditedJobs(self.application.capp, self.grant.actor("dashboard", self.request.remote_ip))
        self.require(self.scope)

    async def get(self, *place: str) -> None:
        """Show the page."""
        try:
            values = await run(self.read, *place)
        except Elsewhere as elsewhere:
            self.redirect(self.link(str(elsewhere)))
        except (JobsError, ValueError) as error:
            self.fail(error)
        else:
            self.show(values)

    async def post(self, *place: str) -> None:
        """Act, and go on with the page that shows what came of it; what was refused is said there."""
        self.require_writable()
        try:
            onwards = await run(self.act, *place)
        except Changed as error:
            self.fail(error)
            return
        except (JobsError, ValueError) as error:
            self.notify(str(error), "danger")
            onwards = self.back
        if isinstance(onwards, Shown):
            self.set_status(onwards.status)
            self.show(onwards.values, onwards.template)
        else:
            self.redirect(self.link(onwards))

    def options(self, *_: Any, **__: Any) -> None:
        """No other site is told that it may ask."""
        raise HTTPError(405)

    @property
    def plugin(self) -> Plugin:
        """That of the app which Flower was started with."""
        return plugin_of(self.application.capp)

    @property
    def is_read_only(self) -> bool:
        """Whether nobody may act here."""
        return bool(self.application.options.read_only) or not self.grant.is_signed_in

    @property
    def back(self) -> str:
        """The path of ours that a form was sent from: it says so itself, and only leads to a page of ours."""
        given = self.get_body_argument("back", "")
        return given if given.startswith("/jobs") and "\\" not in given else self._own_path

    @property
    def _own_path(self) -> str:
        path: str = self.request.path
        return "/" + path.removeprefix(self.link("/"))

    @property
    def version(self) -> str:
        """Of this release, so that a browser loads its own scripts and styles."""
        return celery_jobs.__version__

    def may(self, scope: Scope | str) -> bool:
        """Whether who asks may see or do something, here and now."""
        asked = Scope(scope)
        return self.grant.allows(asked) and (asked is Scope.READ or not self.is_read_only)

    def require(self, scope: Scope) -> None:
        """Raise a 403 for who may not."""
        if not self.grant.allows(scope):
            raise HTTPError(403, f"{self.grant.name} may not: the scope {scope} is needed; jobs_roles says who has it")

    def require_writable(self) -> None:
        """Raise a 403 where nobody may act, or who asks may not."""
        if self.application.options.read_only:
            raise HTTPError(403, "Flower runs with --read_only: nothing can be changed here")
        if not self.grant.is_signed_in:
            raise HTTPError(403, "nobody may act without signing in; start Flower with --basic_auth or --auth")
        self.require(self.acts)

    def show(self, values: dict[str, Any], template: str | None = None) -> None:
        """Write the page."""
        self.render(f"jobs/{template or self.template}", page=self, words=words, notice=self._take_notice(), **values)

    def fail(self, error: Exception) -> None:
        """Show what is wrong instead of the page."""
        self.set_status(status_of(error))
        if isinstance(error, StoreUnavailable):
            logging.getLogger("celery_jobs").warning("%s", error)
        reason = HTTPStatus(self.get_status()).phrase
        self.render("jobs/error.html", page=self, words=words, notice=None, reason=reason, said=str(error))

    def link(self, path: str, **query: Any) -> str:
        """The address of a path of ours, behind Flower's prefix; what is None is left out of the query."""
        prefix = (self.application.options.url_prefix or "").strip("/")
        asked = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
        return f"{'/' + prefix if prefix else ''}{path}{'?' + asked if asked else ''}"

    def field(self, name: str, default: str = "") -> str:
        """What a form says; Flower's own `get_argument` gives HTML. Raises ValueError for what is too long."""
        text = str(self.get_body_argument(name, default))
        if len(text) > LONGEST_FIELD:
            raise ValueError(f"{name}: at most {LONGEST_FIELD:,} characters are taken")
        return text

    def given(self, arguments: dict[str, list[bytes]]) -> dict[str, list[str]]:
        """The fields of an address or a form as texts."""
        return {name: [value.decode("utf-8", "replace") for value in said] for name, said in arguments.items()}

    @property
    def reason(self) -> str | None:
        """Why, as a form says it."""
        return self.field("reason").strip() or None

    def query(self, name: str) -> str | None:
        """What the address asks for; None: nothing."""
        return self.get_query_argument(name, None) or None

    def notify(self, text: str, kind: str = "success") -> None:
        """Say something on the page that is shown next; `kind`: success, warning or danger."""
        path = self.link("/jobs")
        self.set_signed_cookie(NOTICE, f"{kind} {text}"[:2048], 1, httponly=True, samesite="Strict", path=path)

    def _take_notice(self) -> tuple[str, str] | None:
        found = self.get_signed_cookie(NOTICE, max_age_days=1)
        if found is None:
            return None
        self.clear_cookie(NOTICE, path=self.link("/jobs"))
        kind, _, text = found.decode().partition(" ")
        return kind, text

    def check_xsrf_cookie(self) -> None:
        """Whoever signs in, and however: a form is of a page of ours, and has its token."""
        origin.require_own_site(self.request)
        RequestHandler.check_xsrf_cookie(self)

    def set_default_headers(self) -> None:
        """What browsers are to keep to. Not Flower's: that lets every site read it where nobody has to sign in."""
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        # Not no-referrer: a form would say that it comes from nowhere.
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")
