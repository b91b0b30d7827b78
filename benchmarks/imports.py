"""What celery-jobs adds to the start of an app that imports Celery."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contenders import OURS
from benchmarks.entrant import ROOT
from benchmarks.measure import Figures, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

TIMED = """
import time
started = time.perf_counter()
from celery import Celery
app = Celery()
celery = time.perf_counter()
import celery_jobs
imported = time.perf_counter()
celery_jobs.install(app)
installed = time.perf_counter()
celery_jobs.Jobs(app)
from celery_jobs.store import db, tables
print(celery - started, imported - celery, installed - celery, time.perf_counter() - celery)
"""
NAMES = ("celery_ms", "line_ms", "added_ms", "with_store_ms")
"""Celery and an app; `import celery_jobs` alone, which loads its modules when they are asked for; with `install`, which
every process of the app pays; with the store and SQLAlchemy, which the first enqueue loads."""


def contenders(plan: Plan) -> Sequence[str]:
    """Ours."""
    return (OURS,)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Import in new interpreters, after one that has written the bytecode; the medians."""
    timed = [_timed() for _ in range(plan.imports + 1)][1:]
    return {name: median(taken) for name, taken in zip(NAMES, zip(*timed, strict=True), strict=True)}


def _timed() -> list[float]:
    said = subprocess.run(
        [sys.executable, "-c", TIMED],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ).stdout
    return [1000 * float(word) for word in said.split()]


MEASURE = Measure("imports", "milliseconds added to the import of Celery", contenders, run, "added_ms", "ms")
