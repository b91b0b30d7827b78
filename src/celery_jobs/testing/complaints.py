"""What a sandbox says when it cannot do what a test asks."""

from __future__ import annotations

from celery_jobs.errors import JobsError

__all__ = ["JobsLeftWaiting", "SandboxError"]


class SandboxError(JobsError, RuntimeError):
    """The test asks for what a sandbox cannot do; the text says how to mend it."""


class JobsLeftWaiting(UserWarning):
    """`drain` has run all that can run, and jobs still wait: of a paused queue, or of a task that the app lacks."""
