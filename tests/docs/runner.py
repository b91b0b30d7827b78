"""Runs a page's snippets from top to bottom, in a process and a folder of their own: `python -m tests.docs.runner`.

Reads the page's blocks as JSON from stdin. Python blocks share one namespace, as at a prompt; one that begins with
`# name.py` is a file to be written. A worker runs beside them, in a thread, where the page waits for jobs.
`celery -A shop jobs …` runs in this process, as does everything else with the app that the page works on; `worker`
and `beat` are real processes, as are all commands after an `export`. A text or json block is what came out before it.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.docs.checks import require_command
from tests.processes import Beat, CeleryProcess, Worker

if TYPE_CHECKING:
    from collections.abc import Callable


class DocumentedWorker(CeleryProcess):
    """A worker with the arguments of the page, and no others."""

    ready_line, tied_by = Worker.ready_line, Worker.tied_by


class DocumentedBeat(CeleryProcess):
    """A beat with the arguments of the page, and no others."""

    ready_line, tied_by = " is starting.", Beat.tied_by


class Page:
    """One page at work."""

    def __init__(self, stack: ExitStack, waits: bool) -> None:
        self.stack = stack
        self.waits = waits
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.worker: Any = None
        self.exported: dict[str, str] = {}
        self.output = ""

    def python(self, text: str, line: int) -> None:
        """Run a block, or write the file that it is."""
        name = re.match(r"# (\w+\.py)\n", text)
        if name is not None:
            Path(name[1]).write_text(text)
            return
        source = compile("\n" * (line - 1) + text, "page", "exec", dont_inherit=True)
        with redirect_stdout(io.StringIO()) as said:
            exec(source, self.namespace)
        self.output = said.getvalue()
        self._work()

    def _work(self) -> None:
        """Start the worker once there is an app; tell it of tasks that came later."""
        app = getattr(sys.modules.get("shop"), "app", None)
        if app is None or not self.waits:
            return
        if self.worker is None:
            from tests.apps import working

            self.worker = self.stack.enter_context(working(app))
        else:
            self.worker.consumer.update_strategies()

    def sh(self, text: str, line: int) -> None:
        """Run the commands of a block, one a line."""
        said = [self._command(command) for command in text.replace("\\\n", " ").splitlines()]
        self.output = "".join(said)

    def _command(self, command: str) -> str:
        words = shlex.split(self._with_ids(command), comments=True)
        match words:
            case ["celery", "-A", "shop", "jobs", *_]:
                return self._celery(words[1:])
            case ["celery", "-A", "shop", "worker" | "beat", *_]:
                self._start(words[3:])
            case ["export", assignment]:
                name, _, value = assignment.partition("=")
                self.exported[name] = value
            case ["touch" | "rm", _]:
                subprocess.run(words, check=True)
            case []:
                pass
            case _:
                require_command(words)
        return ""

    def _start(self, words: list[str]) -> None:
        kind = DocumentedWorker if words[0] == "worker" else DocumentedBeat
        process = kind("shop", Path.cwd(), broker_url=os.environ["BROKER_URL"], command=words)
        self.stack.enter_context(process).wait_ready()

    def _with_ids(self, command: str) -> str:
        """ID is the id of the page's `run`."""
        run = self.namespace.get("run")
        return re.sub(r"\bID\b", run.id, command) if run is not None else command

    def _celery(self, words: list[str]) -> str:
        if self.exported:
            done = subprocess.run(
                [sys.executable, "-m", "celery", *words],
                env={**os.environ, **self.exported},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
            return done.stdout
        from celery.bin.celery import celery
        from click.testing import CliRunner

        answer = CliRunner().invoke(celery, words, prog_name="celery")
        assert answer.exit_code == 0, f"{shlex.join(words)}: {answer.output}{answer.exception!r}"
        return str(answer.stdout)

    def text(self, text: str, line: int) -> None:
        """Compare what came out with what the page says came out, ids and times aside."""
        assert masked(self.output) == masked(text), f"this came out:\n{self.output}\nthe page says:\n{text}"

    def json(self, text: str, line: int) -> None:
        """The same, as values."""
        shown, found = (json.loads(masked(said)) for said in (text, self.output))
        assert found == shown, f"this came out:\n{json.dumps(found, indent=2)}"


_MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?", "<moment>"),
    (r'"duration_ms": \d+', '"duration_ms": 0'),
    (r"\b\d+(\.\d+)?(ms|s|m|h|d)\b( \d+(ms|s|m|h))?", "<span>"),
    (r"\w+://\S+", "<url>"),
    (r"(?m)[ \t]+", " "),
    (r"(?m) $", ""),
)


def masked(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, mark in _MASKS:
        text = re.sub(pattern, mark, text)
    return text.strip()


def waits(blocks: list[dict[str, Any]]) -> bool:
    """Whether the page's Python waits for jobs, and starts no worker of its own."""
    code = [block["text"] for block in blocks if block["language"] == "python"]
    calls = [node.func for text in code for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    named = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    own = any("celery -A shop worker" in block["text"] for block in blocks)
    return not named.isdisjoint({"wait", "events"}) and not own


def main() -> None:
    """Run the page."""
    blocks = json.load(sys.stdin)
    sys.path.insert(0, os.getcwd())
    with ExitStack() as stack:
        page = Page(stack, waits(blocks))
        does: dict[str, Callable[[str, int], None]]
        does = {"python": page.python, "sh": page.sh, "text": page.text, "json": page.json}
        for block in blocks:
            try:
                does[block["language"]](block["text"], block["line"])
            except BaseException:
                print(f"in the {block['language']} block at line {block['line']}", file=sys.stderr)
                raise


if __name__ == "__main__":
    main()
