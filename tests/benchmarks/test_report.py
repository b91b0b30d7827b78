from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from benchmarks import records, report
from benchmarks.contenders import BARE, OURS
from benchmarks.measure import Readings
from benchmarks.plan import QUICK

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {"processor": "one", "cores": 2, "load_before": 0.1, "load_after": 2.0, "seconds": 7}


def _delay(ours: float) -> Readings:
    readings = Readings()
    readings.add("delay", OURS, {"per_second": ours})
    readings.add("delay", BARE, {"per_second": 2000.0})
    readings.fail("delay", "RQ", "Unavailable: no network")
    return readings


def _said(readings: Readings, **facts: Any) -> dict[str, Any]:
    return report.as_json([report.run_as_json(QUICK, FACTS | facts, readings)], readings)


def _written(folder: Path, name: str, said: dict[str, Any]) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(said))
    return file


def test_the_tables_say_ratio_bar_and_verdict_and_who_could_not_run() -> None:
    console = Console(width=150, record=True, file=io.StringIO())
    for table in report.tables(_delay(1000.0)):
        console.print(table)
    text = console.export_text()
    row = next(line for line in text.splitlines() if line.strip(" │").startswith(".delay()"))
    assert [word in row for word in ("1,000", "2,000", " 0.5 ", "≥ 0.6", "≥ 0.7", "missed")] == [True] * 6
    assert "delay: RQ could not run: Unavailable: no network" in text


def test_the_json_has_the_goals_the_readings_and_where_they_were_made() -> None:
    said = json.loads(json.dumps(_said(_delay(1300.0))))
    goal = next(goal for goal in said["goals"] if goal["what"] == ".delay(), against bare Celery")
    assert (goal["verdict"], goal["figures"]["judged"]["median"], goal["must"]) == ("met", 0.65, 0.6)
    assert said["runs"][0]["measures"] == ["delay"]
    assert said["runs"][0]["machine"]["cores"] == 2


def test_runs_are_put_together_the_later_one_of_a_measure_counts(tmp_path: Path) -> None:
    latency = Readings()
    latency.add("latency", OURS, {"median_ms": 4.0, "p99_ms": 9.0})
    files = [
        _written(tmp_path, "first", _said(_delay(1000.0))),
        _written(tmp_path, "second", _said(latency)),
        _written(tmp_path, "third", _said(_delay(1500.0))),
    ]
    runs, readings = records.merged(files)
    assert readings.of("delay", OURS, "per_second") == [1500.0]
    assert readings.of("latency", OURS, "p99_ms") == [9.0]
    assert [run["measures"] for run in runs] == [["latency"], ["delay"]]
    again = _written(tmp_path, "all", report.as_json(runs, readings))
    assert records.merged([again]) == (runs, readings)


def test_a_failure_is_forgotten_when_the_measure_was_made_again(tmp_path: Path) -> None:
    well = Readings()
    well.add("delay", OURS, {"per_second": 1.0})
    files = [_written(tmp_path, "first", _said(_delay(1.0))), _written(tmp_path, "second", _said(well))]
    assert records.merged(files)[1].failures == {}


def test_runs_of_different_machines_are_not_put_together(tmp_path: Path) -> None:
    other = Readings()
    other.add("imports", OURS, {"added_ms": 1.0})
    files = [
        _written(tmp_path, "first", _said(_delay(1.0))),
        _written(tmp_path, "second", _said(other, processor="another")),
    ]
    with pytest.raises(records.Incompatible, match="different machines"):
        records.merged(files)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "else.json"
    file.write_text(text)
    with pytest.raises(records.Incompatible, match=r"else\.json is not what a run has written"):
        records.merged([file])
