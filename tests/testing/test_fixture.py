"""The pytest plugin: found by itself, closes its sandboxes, and costs nothing where no job is tested."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

USERS_TEST = """
import celery_jobs, pytest
from celery import Celery
from celery_jobs.testing import Sandbox, SandboxError

app = Celery("shop", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
celery_jobs.install(app)
kept = []

@app.task(bind=True)
def charge(self, order):
    if self.request.retries == 0:
        raise ValueError("declined")
    return order

def test_a_charge_is_retried(jobs_sandbox):
    sandbox = jobs_sandbox(app)
    kept.append(sandbox)
    charge.delay(42)
    [run] = sandbox.drain()
    assert (run.result, run.attempt_number) == (42, 2)

def test_the_sandbox_was_closed(jobs_sandbox):
    with pytest.raises(SandboxError):
        kept[0].drain()
    assert jobs_sandbox(app).enqueued() == []

def test_what_fails(jobs_sandbox):
    sandbox = jobs_sandbox(app)
    charge.delay(42)
    sandbox.assert_enqueued(charge, args=(43,))
"""


def test_a_users_test_needs_nothing_but_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USERS_TEST)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*charge(43, **…) was not enqueued; enqueued were:", "*charge(42) queue='celery'*"])


def test_the_fixture_is_documented(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["jobs_sandbox*", "*Opens sandboxes*"])


def test_the_plugin_loads_neither_celery_nor_sqlalchemy() -> None:
    heavy = {"celery", "kombu", "sqlalchemy", "alembic"}
    code = f"import sys, celery_jobs.testing.fixtures; print({heavy} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
