"""The page New job: a task, an HTTP request or a payload, checked as it is typed and once more when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.errors import InvalidJob, JobsError
from celery_jobs.tokens import Scope
from celery_jobs.web.exposure import exposed_tasks
from celery_jobs.web.job_form import check, make, read_job
from celery_jobs.web.page import Page, Shown
from celery_jobs.web.threads import run

if TYPE_CHECKING:
    from celery_jobs.web.job_form import JobForm

__all__ = ["CheckPage", "NewPage"]


class NewPage(Page):
    """A form that makes a job."""

    template = "new.html"
    tab = "jobs"
    scope = acts = Scope.ENQUEUE

    def read(self, *_: str) -> dict[str, Any]:
        """The empty form, or one that the address fills in."""
        given = {name: said[-1] for name, said in self.given(self.request.query_arguments).items() if said}
        return self._shown({"kind": "task", **given}, {})

    def _shown(self, said: dict[str, str], errors: dict[str, str]) -> dict[str, Any]:
        settings = self.plugin.settings
        queues = sorted({*settings.queues, *self.plugin.app.amqp.queues})
        tasks = exposed_tasks(self.plugin)
        return {"said": said, "errors": errors, "tasks": tasks, "queues": queues, "pulls": settings.pull_queues}

    def act(self, *_: str) -> str | Shown:
        """Make it."""
        form = self._form()
        errors = form.errors
        if not errors:
            try:
                run = make(self.jobs, form)
            except InvalidJob as error:
                errors = {error.field: error.problem}
            else:
                self.notify("a job with this key was there already" if run.deduplicated else "the job is made")
                return f"/jobs/{run.id}"
        return Shown(self.template, self._shown(form.said, errors), 422)

    def _form(self) -> JobForm:
        given = self.given(self.request.body_arguments)
        return read_job(self.plugin, {name: self.field(name) for name in given})


class CheckPage(NewPage):
    """What is wrong with a form as it stands; nothing is made."""

    async def get(self, *_: str) -> None:
        """There is nothing to see."""
        self.redirect(self.link("/jobs/new"))

    async def post(self, *_: str) -> None:
        """The fields at fault, as JSON."""
        self.require_writable()
        self.write({"errors": await run(self._errors)})

    def _errors(self) -> dict[str, str]:
        form = self._form()
        if form.errors:
            return form.errors
        try:
            check(self.plugin, form)
        except InvalidJob as error:
            return {error.field: error.problem}
        except JobsError as error:
            return {"task": str(error)}
        return {}
