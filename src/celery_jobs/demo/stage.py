"""What the stories of the tour share: the jobs they send, what the screen shows of them, and their promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_jobs.jobs import Jobs
    from celery_jobs.runs import Run

__all__ = ["Act", "Line", "PromiseBroken", "Steps", "Story"]

PATIENCE = 25.0

Steps = Iterator[None]
"""A story in progress: each `yield` means to look again a moment later."""


class PromiseBroken(Exception):
    """A job did not end as promised; the text says how it did."""


@dataclass(frozen=True, slots=True)
class Story:
    """One thing that the tour shows. `text`: what happens and why, for the screen; `tell`: its steps."""

    title: str
    text: str
    tell: Callable[[Act], Steps]


@dataclass(slots=True)
class Line:
    """A job on the screen. `remark`: what its row alone does not say."""

    number: int
    run: Run
    remark: str = ""


@dataclass(slots=True)
class Act:
    """A story being told. `outcome`: None while it goes on, "" where every promise was kept, else what was not."""

    number: int
    story: Story
    jobs: Jobs
    flower_url: str
    lines: list[Line] = field(default_factory=list)
    outcome: str | None = None
    _steps: Steps | None = None

    def step(self) -> None:
        """Look at the jobs again, and go on as far as the story can now."""
        try:
            self._refresh()
            if self.outcome is None:
                next(self._told())
        except StopIteration:
            self.outcome = ""
        except PromiseBroken as broken:
            self.outcome = str(broken)
        except Exception as error:
            self.outcome = f"{type(error).__name__}: {error}"

    def _refresh(self) -> None:
        for line in self.lines:
            if not line.run.has_ended:
                line.run = self.jobs.get(line.run.id)

    def _told(self) -> Steps:
        if self._steps is None:
            self._steps = self.story.tell(self)
        return self._steps

    def send(self, task: Any, *args: Any, **options: Any) -> Any:
        """Enqueue as any caller does, and show the job; gives Celery's result."""
        result = task.apply_async(args, **options)
        remark = "the same job" if result.deduplicated else ""
        self.show(self.jobs.get(result.job_id), remark)
        return result

    def show(self, run: Run, remark: str = "") -> Line:
        """Put a job on the screen."""
        self.lines.append(Line(self.number, run, remark))
        return self.lines[-1]

    def until(self, condition: Callable[[], bool], what: str) -> Steps:
        """Wait for a condition, 25 s at most."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise PromiseBroken(f"{what}: not within {PATIENCE:.0f} s")
            yield

    def until_ended(self, line: Line) -> Steps:
        """Wait until a job has its verdict."""
        yield from self.until(lambda: line.run.has_ended, f"{line.run.task} ends")

    def promise(self, what: str, given: object, promised: object) -> None:
        """Raise PromiseBroken unless something is as promised."""
        if given != promised:
            raise PromiseBroken(f"{what} is {given!r}, promised was {promised!r}")
