"""A terminal in which somebody follows the example's README; the URL and the broker are a test's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from celery_jobs.demo.valkey import free_port
from tests.processes import END_SECONDS, SOURCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EXAMPLES", "Terminal", "commands_of_readme"]

EXAMPLES = SOURCE.parent / "examples"
README = (EXAMPLES / "webhooks" / "README.md").read_text()
PYTHON, CURL = "python -m webhooks ", "curl "
URL = "http://127.0.0.1:8090/shop"


def commands_of_readme() -> set[str]:
    """All that it tells to run in the example."""
    return {
        line.partition("   #")[0].removesuffix(" &")
        for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
        if line.startswith((PYTHON, CURL))
    }


class Terminal:
    """Runs commands and notes them. `endpoint`: what the README calls ENDPOINT."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.endpoint = ""
        self.done: set[str] = set()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "JOBS_DATABASE_URL"},
            "PYTHONPATH": str(SOURCE),
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
            "WEBHOOK_SECRETS": _exported("WEBHOOK_SECRETS"),
            "WEBHOOK_ALLOWED_ADDRESSES": _exported("WEBHOOK_ALLOWED_ADDRESSES"),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/shop"

    @contextmanager
    def up(self) -> Iterator[None]:
        """`up` on a port of the test's own, from its being ready until the shell's `kill %1`."""
        self.done.add(f"{PYTHON}up")
        log = self.folder / "up.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "webhooks", "up", "--port", str(self.port)],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(lambda: "ready" in log.read_text(), 30, log.read_text)
            yield
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(END_SECONDS) == 0, log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, command: str) -> str:
        """Run a command of the example; gives what it says."""
        self.done.add(PYTHON + command)
        words = shlex.split(command.replace(URL, self.url).replace("ENDPOINT", self.endpoint))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "webhooks", *words],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def until(self, command: str, text: str) -> str:
        """Run a command until it says something; gives all that it says."""
        said: list[str] = []

        def says() -> bool:
            said.append(self.run(command))
            return text in said[-1]

        wait_until(says, message=lambda: f"{command} does not say {text!r}: {said[-1]}")
        return said[-1]

    def behave(self, answers: str) -> None:
        """Tell the receiver how to answer, as `curl` does."""
        self.done.add(f"{CURL}-X PUT -d {answers} {URL}")
        urlopen(Request(self.url, method="PUT", data=answers.encode())).close()

    def came(self, count: int) -> list[tuple[str, str]]:
        """Events and answers of the requests that came, as `curl` shows them, once they are so many."""
        self.done.add(CURL + URL)

        def look() -> list[dict[str, str]]:
            with urlopen(self.url) as answer:
                return list(json.load(answer))

        wait_until(lambda: len(look()) >= count, message=lambda: f"these came: {look()}")
        return [(request["event_id"], request["answer"]) for request in look()]


def _exported(name: str) -> str:
    """The value that README's `export` gives a variable."""
    [line] = re.findall(rf"^export {name}=.*$", README, re.MULTILINE)
    return subprocess.check_output(["sh", "-c", f'{line}; printf %s "${name}"'], text=True)
