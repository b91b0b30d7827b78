from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import BARE, OURS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(300)
def test_a_run_measures_says_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    only = ["--only", "promoter", "--only", "replay", "--only", "imports"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *only, "--rounds", "2", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr  # how fast this machine is, is not the question
    said = json.loads(file.read_text())
    assert said["failures"] == {}
    assert {name: list(contenders) for name, contenders in said["readings"].items()} == {
        "promoter": [OURS, BARE],
        "replay": [OURS],
        "imports": [OURS],
    }
    assert all(len(rounds) == 2 for contenders in said["readings"].values() for rounds in contenders.values())
    judged = {goal["measure"] for goal in said["goals"] if goal["verdict"] != "not measured"}
    assert judged == {"promoter", "replay", "imports"}
    assert "promoter, against bare .delay()" in done.stdout
