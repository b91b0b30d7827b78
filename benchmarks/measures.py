"""All measures, in the order of a run."""

from __future__ import annotations

from benchmarks import (
    backlog,
    churn,
    delay,
    growth,
    idle,
    imports,
    latency,
    limits,
    many,
    memory,
    pages,
    producers,
    promoter,
    replay,
    snapshot,
    sweep,
)

__all__ = ["MEASURES"]

_ALL = (
    *(backlog, producers, limits, delay, many, promoter, latency, replay, imports),
    *(idle, memory, sweep, snapshot, pages, growth, churn),
)

MEASURES = {module.MEASURE.name: module.MEASURE for module in _ALL}
