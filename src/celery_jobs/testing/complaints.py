"""What a sandbox says when it cannot do what a test asks."""

from __future__ import annotations

from celery_jobs.errors import JobsError

__all__ = ["JobsLeftWaiting", "SandboxError", "Unanswered"]


class SandboxError(JobsError, RuntimeError):
    """The test asks for what a sandbox cannot do; the text says how to mend it."""


class Unanswered(BaseException):
    """A job's request that no response was given for; raised to the test as a SandboxError.

    No Exception, which would be recorded as what became of the attempt.
    """


class JobsLeftWaiting(UserWarning):
    """`drain` has run all that can run, and jobs still wait: of a paused queue, or of a task that the app lacks."""
