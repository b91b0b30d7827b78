"""The page of one job: its attempts as a timeline, what it was called with, what came of it, and what can be done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError

from celery_jobs.answers import body_text
from celery_jobs.lineage import lineage
from celery_jobs.plugin import HTTP_TASK
from celery_jobs.states import FinalStatus, Status
from celery_jobs.tokens import Scope
from celery_jobs.web.page import Page

if TYPE_CHECKING:
    from celery_jobs.arguments import Arguments
    from celery_jobs.runs import Run
    from celery_jobs.store.rows import Job

__all__ = ["JobPage"]

ACTS = {
    "cancel": Scope.OPERATE,
    "kill": Scope.OPERATE,
    "fire": Scope.OPERATE,
    "replay": Scope.OPERATE,
    "callback": Scope.OPERATE,
    "delete": Scope.ADMIN,
    "purge": Scope.ADMIN,
    "erase": Scope.ADMIN,
}
"""What can be done to a job, and who may."""


class JobPage(Page):
    """One run."""

    template = "job.html"
    tab = "jobs"

    def read(self, *place: str) -> dict[str, Any]:
        """The run with all that belongs to it."""
        run = self.jobs.get(place[0])
        before, after = lineage(self.jobs, run)
        arguments = self.jobs.arguments(run.id)
        return {
            "run": run,
            "before": before,
            "after": after,
            "arguments": arguments,
            "request": _request(run, arguments),
            "possible": [name for name in _possible(run) if self.may(ACTS[name])],
            "tracebacks": _tracebacks(run),
            "pretty": pretty,
        }

    def body_of(self, run: Run) -> str:
        """The body of an answer as a text."""
        assert run.response is not None
        text = body_text(run.response)
        return f"{len(run.response.body):,} bytes that are no text" if text is None else text

    def act(self, *place: str) -> str:
        """Do one thing to it."""
        run, asked = self.jobs.get(place[0]), self.field("do")
        if asked not in ACTS:
            raise ValueError(f"do: one of {', '.join(ACTS)} is expected, not {asked[:50]!r}")
        if not self.may(ACTS[asked]):
            raise HTTPError(403, f"{self.grant.name} may not: the scope {ACTS[asked]} is needed")
        self.jobs.reason = self.reason
        onwards: str = getattr(self, f"_{asked}")(run)
        return onwards

    def _cancel(self, run: Run, terminate: bool = False) -> str:
        ended = self.jobs.cancel(run.id, terminate=terminate).has_ended
        self.notify("the job is cancelled" if ended else "the job has been asked to stop")
        return f"/jobs/{run.id}"

    def _kill(self, run: Run) -> str:
        return self._cancel(run, terminate=True)

    def _fire(self, run: Run) -> str:
        self.jobs.fire(run.id)
        self.notify("the job is due now, and sent")
        return f"/jobs/{run.id}"

    def _replay(self, run: Run) -> str:
        new = self.jobs.replay(run.id, reason=self.reason, force=bool(self.field("force")))
        self.notify("this is the replay")
        return f"/jobs/{new.id}"

    def _callback(self, run: Run) -> str:
        number = self.field("attempt")
        attempt = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else None
        self.jobs.resend_callback(run.id, attempt)
        self.notify("the callback is sent again")
        return f"/jobs/{run.id}"

    def _delete(self, run: Run) -> str:
        self.jobs.delete(run.id)
        self.notify(f"the job {run.id} is deleted")
        return "/jobs"

    def _purge(self, run: Run) -> str:
        self.jobs.purge(run.id)
        self.notify(f"the dead letter {run.id} is purged")
        return "/jobs/dead-letters"

    def _erase(self, run: Run) -> str:
        self.jobs.erase(run.id)
        self.notify("what the job was called with, and what came of it, is erased")
        return f"/jobs/{run.id}"


def _possible(run: Run) -> list[str]:
    """What makes sense with a run as it is."""
    if run.has_ended:
        removal = "purge" if run.final_status == FinalStatus.DEAD_LETTERED else "delete"
        return [removal] if run.erased_at is not None else ["replay", removal, "erase"]
    if run.status == Status.PROCESSING:
        return ["cancel", "kill"]
    return ["fire", "cancel", "delete"]


def _request(run: Run, arguments: Arguments) -> dict[str, Any] | None:
    """What an HTTP job asks, by its own names."""
    return arguments.kwargs if run.task == HTTP_TASK and arguments.unreadable is None else None


def _tracebacks(run: Run) -> list[tuple[str, str]]:
    """Each different one once, with the numbers of its attempts."""
    found: dict[str, list[Job]] = {}
    for job in run.attempts:
        if job.traceback:
            found.setdefault(job.traceback.rstrip(), []).append(job)
    return [(", ".join(str(job.attempt_number) for job in jobs), text) for text, jobs in found.items()]


def pretty(value: Any) -> str:
    """JSON for people; a text that is JSON, too."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    return str(json.dumps(value, indent=2, ensure_ascii=False, default=str))
