"""The page Queues: what each holds, how it is treated, and how to hold it or let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery_jobs.amounts import read_expiry
from celery_jobs.web.page import Page
from celery_jobs.words import plural, span

if TYPE_CHECKING:
    from celery_jobs.settings import QueueSettings

__all__ = ["QueuesPage"]


class QueuesPage(Page):
    """Every queue."""

    template = "queues.html"
    tab = "queues"

    def read(self, *_: str) -> dict[str, Any]:
        """What each holds, and its policy."""
        settings = self.plugin.settings
        found = self.jobs.queues()
        return {"queues": found, "policies": {one.queue: policy(settings.queue(one.queue)) for one in found}}

    def act(self, *_: str) -> str:
        """Pause, drain or resume one."""
        queue, asked = self.field("queue"), self.field("do")
        self.jobs.reason = self.reason
        if asked == "resume":
            self.notify(f"the queue {queue} goes on, {plural(self.jobs.resume(queue), 'job')} sent")
        elif asked in ("pause", "drain"):
            self.jobs.pause(queue, self._until(), by=self.grant.name, reason=self.reason)
            left = self.jobs.running(queue) if asked == "drain" else 0
            words = f"; {plural(left, 'job')} of it still run, this page says when none does" if left else ""
            self.notify(f"the queue {queue} is paused{words}")
        else:
            raise ValueError(f"do: pause, drain or resume is expected, not {asked[:50]!r}")
        return "/jobs/queues"

    def _until(self) -> Any:
        text = self.field("until").strip()
        try:
            return read_expiry(text) if text else None
        except ValueError as error:
            raise ValueError(f"until: {error}") from None


def policy(queue: QueueSettings) -> list[str]:
    """How its jobs are treated, in words."""
    said = []
    if queue.is_pull:
        said.append("for outside workers")
    if not queue.retries_enabled:
        said.append("no retries")
    else:
        waits = ", ".join(span(delay) for delay in queue.retry_delays)
        attempts = queue.max_attempts or 1 + len(queue.retry_delays)
        said.append(f"{plural(attempts, 'attempt')}" + (f", after {waits}" if waits else ""))
        said += ["waits drawn from their upper half"] if queue.jitter else []
    if queue.concurrency_limit is not None:
        said.append(f"{queue.concurrency_limit:,} at once")
    if queue.rate_limit is not None:
        said.append(f"{queue.rate_limit} started")
    if queue.timeout is not None:
        said.append(f"timeout {span(queue.timeout)}")
    said.append(f"dead letters kept {queue.dlq_retention_days:g} d, history {queue.history_retention_days:g} d")
    return [*said, *(["alerts"] if queue.alerts_enabled else [])]
