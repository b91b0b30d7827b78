"""Follows a README of `examples/` as its reader does, on ports and servers of the test's own.

Its `sh` blocks are run in order. A `json` block is a part of what the command before it says, at the latest after some
seconds; a word in capitals stands there for an id, from where it comes up first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from celery_jobs.demo.valkey import free_port
from tests.processes import SOURCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Follower"]

BLOCKS = re.compile(r"^## (?P<heading>[^\n]+)$|^```(?P<language>sh|json)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b[58]000\b")
ID = re.compile(r"\b[A-Z]{3,}\b")

curl = argparse.ArgumentParser(prog="curl")
curl.add_argument("-X", dest="method")
curl.add_argument("--json")
curl.add_argument("url")


class Follower:
    """Somebody who follows one README in a copy of the repository; leaving the context ends what was started.

    `settings`: what its `export` gives other values here, such as the URLs of servers.
    """

    def __init__(self, readme: Path, repository: Path, settings: Mapping[str, str]) -> None:
        text = readme.read_text()
        [self._place] = re.findall(r"^cd (.+)$", text, re.MULTILINE)
        self.place = repository / self._place
        self._blocks = [found.groupdict() for found in BLOCKS.finditer(text)]
        self._settings = settings
        self._port = str(free_port())
        self._ids: dict[str, str] = {}
        self._command: list[str] = []
        self._said: Any = None
        self._started: list[subprocess.Popen[bytes]] = []
        inherited = {name: value for name, value in os.environ.items() if name not in settings}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**inherited, "PATH": path, "PYTHONPATH": str(SOURCE)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def follow(self, section: str) -> None:
        """Do all that a section tells."""
        heading = ""
        for block in self._blocks:
            heading = block["heading"] or heading
            if heading != section:
                continue
            if block["language"] == "sh":
                for line in block["text"].splitlines():
                    self._do(line.partition("   #")[0])
            elif block["language"] == "json":
                self._compare(json.loads(block["text"]))

    def say(self, *words: str) -> str:
        """What a command says."""
        done = subprocess.run(words, cwd=self.place, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _do(self, line: str) -> None:
        line = ID.sub(lambda found: self._ids.get(found[0], found[0]), PORT.sub(self._port, line))
        self._command = shlex.split(line)
        match self._command:
            case ["cd", place]:
                assert place == self._place
            case ["export", assignment]:
                name = assignment.partition("=")[0]
                self._environment[name] = self._settings[name]
            case ["curl", *words]:
                self._said = self._ask(words)
            case [*words, "&"]:
                self._start(words)
            case words:
                self.say(*words)

    def _start(self, words: list[str]) -> None:
        with (self.place / f"{len(self._started)}.log").open("wb") as log:
            process = subprocess.Popen(
                words, cwd=self.place, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)

    def _ask(self, words: list[str]) -> Any:
        """Make a request as curl does; a server that has just been started may not answer at once."""
        asked = curl.parse_args(words)
        body = asked.json and asked.json.encode()
        method = asked.method or ("POST" if body else "GET")
        request = Request(asked.url, body, {"Content-Type": "application/json"}, method=method)

        def answer() -> Any:
            try:
                with urlopen(request, timeout=30) as answered:
                    return [json.load(answered)]
            except HTTPError as refused:
                return [json.load(refused)]
            except URLError:
                return None

        return wait_until(answer, 30, self._logs)[0]

    def _compare(self, shown: dict[str, Any]) -> None:
        """Look until what came out is what is shown; only what changes nothing is asked again."""
        asks_again = self._command[0] == "curl" and self._command[1].startswith("http")

        def agrees() -> bool:
            if asks_again and not self._agrees(shown):
                self._said = self._ask(self._command[1:])
            return self._agrees(shown)

        wait_until(agrees, 30 if asks_again else 0.1, lambda: f"{self._said} came, not {shown}\n{self._logs()}")

    def _agrees(self, shown: dict[str, Any]) -> bool:
        new = {value: self._said.get(name) for name, value in shown.items() if ID.fullmatch(str(value))}
        self._ids = new | self._ids
        return {name: self._said.get(name) for name in shown} == {
            name: self._ids.get(str(value), value) for name, value in shown.items()
        }

    def _logs(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in sorted(self.place.glob("*.log")))
