"""For the tests of apps that use celery-jobs: jobs run in the test's process, on a clock that the test moves.

    def test_a_charge_is_retried(jobs_sandbox):
        sandbox = jobs_sandbox(app)
        charge.delay(42)
        [run] = sandbox.drain()
        assert run.final_status == "success"
        assert run.attempt_number == 2

`jobs_sandbox` is a fixture that pytest finds by itself; `with Sandbox(app) as sandbox:` is the same without pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_jobs.callbacks import Callback
    from celery_jobs.testing.complaints import JobsLeftWaiting, SandboxError
    from celery_jobs.testing.internet import SentRequest
    from celery_jobs.testing.sandbox import Sandbox

__all__ = ["Callback", "JobsLeftWaiting", "Sandbox", "SandboxError", "SentRequest"]

_HOMES = {
    "Callback": "celery_jobs.callbacks",
    "JobsLeftWaiting": "celery_jobs.testing.complaints",
    "Sandbox": "celery_jobs.testing.sandbox",
    "SandboxError": "celery_jobs.testing.complaints",
    "SentRequest": "celery_jobs.testing.internet",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: pytest loads this package in every run, also where no job is tested."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'celery_jobs.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
