"""The checker is checked: each rule refuses a history that breaks it, and takes one that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.histories import ACCEPTED, BREACHES
from tests.chaos.history import Log, read_log

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_refuses_each_history_that_breaks_it(rule: str) -> None:
    for breach in BREACHES[rule]:
        assert list(RULES[rule](breach)), breach


@pytest.mark.parametrize("history", ACCEPTED)
def test_a_history_that_breaks_nothing_is_accepted(history: str) -> None:
    assert check(ACCEPTED[history]) == []


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert BREACHES.keys() == RULES.keys()


def test_a_line_that_its_writer_was_killed_in_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log = Log(file)
    log.write("enqueue", "invoke", number=1)
    log.close()
    with file.open("a") as torn:
        torn.write('{"kind": "enq')
    assert [(read.kind, read["number"]) for read in read_log(file)] == [("enqueue", 1)]
