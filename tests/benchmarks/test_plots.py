from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import report
from benchmarks.contenders import BARE, OURS
from benchmarks.goals import FEW, MANY
from benchmarks.measure import Readings

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n"


@pytest.mark.matrix
def test_there_is_a_picture_of_each_thing_that_was_measured_and_of_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is in the extra bench")
    from benchmarks import plots

    readings = Readings()
    for contender, rate in ((OURS, 900.0), (BARE, 1200.0), (f"backlog, {FEW}", 1.0), (f"backlog, {MANY}", 0.9)):
        readings.add("growth" if "," in contender else "backlog", contender, {"per_second": rate})
    readings.fail("backlog", "RQ", "could not run")
    files = plots.draw(report.as_json([], readings), tmp_path / "pictures")
    assert sorted(file.name for file in files) == ["backlog.png", "goals.png", "growth.png"]
    assert all(file.read_bytes().startswith(PNG) for file in files)
