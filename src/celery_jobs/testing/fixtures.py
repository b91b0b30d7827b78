"""The pytest plugin: the fixture `jobs_sandbox`. Loaded in every pytest run, so it imports nothing heavy."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from celery_jobs.testing.sandbox import Sandbox

__all__ = ["jobs_sandbox"]


@pytest.fixture
def jobs_sandbox() -> Iterator[Callable[[Celery], Sandbox]]:
    """Opens sandboxes, `sandbox = jobs_sandbox(app)`, and closes them at the end of the test."""
    with ExitStack() as opened:

        def open_sandbox(app: Celery) -> Sandbox:
            from celery_jobs.testing.sandbox import Sandbox

            return opened.enter_context(Sandbox(app))

        yield open_sandbox
