"""All measures, in the order of a run."""

from __future__ import annotations

from benchmarks import backlog, delay, latency, many, producers, promoter

__all__ = ["MEASURES"]

MEASURES = {module.MEASURE.name: module.MEASURE for module in (backlog, producers, delay, many, promoter, latency)}
