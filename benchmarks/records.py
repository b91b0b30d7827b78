"""What runs have written as JSON, read again: several of them, each of some measures, make one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Readings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Incompatible", "merged", "read"]


class Incompatible(ValueError):
    """Files that cannot be read or put together; the text says why."""


def read(file: Path) -> tuple[list[dict[str, Any]], Readings]:
    """The runs that a file is of, and what they read; raises Incompatible."""
    try:
        said = json.loads(file.read_text())
        return said["runs"], Readings(said["readings"], said["failures"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Incompatible(f"{file} is not what a run has written: {error!r}") from error


def merged(files: Sequence[Path]) -> tuple[list[dict[str, Any]], Readings]:
    """The runs of several files; of a measure that is in two, the later file's. Raises Incompatible."""
    runs: list[dict[str, Any]] = []
    readings = Readings()
    for file in files:
        its_runs, its_readings = read(file)
        for name, rounds in its_readings.rounds.items():
            _forget(runs, name)
            readings.rounds[name] = rounds
            readings.failures.pop(name, None)
        readings.failures.update(its_readings.failures)
        runs += its_runs
    runs = [run for run in runs if run["measures"]]
    machines = {(run["machine"]["processor"], run["machine"]["cores"]) for run in runs}
    if len(machines) > 1:
        raise Incompatible(f"the runs are of different machines: {sorted(machines)}")
    return runs, readings


def _forget(runs: list[dict[str, Any]], measure: str) -> None:
    """A measure was made again: no earlier run is what is shown of it."""
    for run in runs:
        run["measures"] = [name for name in run["measures"] if name != measure]
