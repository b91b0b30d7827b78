"""What the example's README says to run, in a copy of its folder, on SQLite."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.examples.terminal import EXAMPLES, Terminal, commands_of_readme

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    shutil.copytree(EXAMPLES / "webhooks", tmp_path / "webhooks", ignore=shutil.ignore_patterns("__pycache__"))
    return Terminal(tmp_path)


@pytest.mark.slow
@pytest.mark.matrix
def test_the_commands_of_the_readme_do_what_it_says(terminal: Terminal) -> None:
    with terminal.up():
        terminal.endpoint = terminal.run("register http://127.0.0.1:8090/shop invoice.paid")
        first = """publish invoice.paid '{"invoice": 7}' --id invoice-7-paid"""
        terminal.run(first)
        terminal.until("deliveries", "success attempt 1")
        assert "published before" in terminal.run(first)

        terminal.behave("410")
        terminal.run("""publish invoice.paid '{"invoice": 8}' --id invoice-8-paid""")
        shown = terminal.until("deliveries", f"{terminal.url} 127.0.0.1:{terminal.port} answered 410 Gone")
        assert "dead_lettered attempt 1" in shown

        terminal.behave("200")
        terminal.run("enable ENDPOINT")
        assert terminal.run("replay ENDPOINT") == "1 replayed, 0 replayed before"
        terminal.until("deliveries", f"{terminal.url} enabled")
        assert terminal.came(3) == [("invoice-7-paid", "200"), ("invoice-8-paid", "410"), ("invoice-8-paid", "200")]
    assert terminal.done == commands_of_readme()
