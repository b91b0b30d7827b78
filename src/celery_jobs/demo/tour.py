"""The tour: starts the shop's processes, tells the stories on the screen, and says whether all was as promised."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celery_jobs.demo.folder import claimed
from celery_jobs.demo.processes import Processes
from celery_jobs.demo.screen import View
from celery_jobs.demo.stage import Act, PromiseBroken
from celery_jobs.plugin import plugin_of
from celery_jobs.store import services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_jobs.demo.screen import Screen

__all__ = ["Tour", "give_tour"]

LOOK_SECONDS = 0.1
CURTAIN_SECONDS = 0.5
"""Between the beginnings of two stories, for the eye to follow."""

START_SECONDS = 20.0
TRADE_SECONDS = 5.0
SERVICES = ("promoter", "redispatcher", "reaper")


def give_tour(folder: Path, port: int, screen: Screen, stay: bool) -> list[str]:
    """Give the tour, then `stay` until Ctrl-C; every process is ended. Gives the promises that were broken.

    Raises FolderRefused, ValkeyUnavailable, and KeyboardInterrupt for a Ctrl-C before the tour is over.
    """
    with claimed(folder) as own, _signals(), Processes(own, port) as processes:
        os.environ.clear()
        os.environ.update(processes.environment)
        _log_to(own / "tour.log")
        tour = Tour(processes, screen)
        screen.open(tour.acts, own)
        try:
            broken = tour.give()
            if stay and not broken:
                broken = tour.stay()
        finally:
            screen.close()
            screen.say("Ending the processes ...", "dim")
    return broken


class Tour:
    """All stories at once, looked at ten times a second."""

    def __init__(self, processes: Processes, screen: Screen) -> None:
        # Imported here: the shop reads its environment.
        from celery_jobs.demo.shop import app
        from celery_jobs.demo.stories import STORIES
        from celery_jobs.jobs import Jobs

        self.processes = processes
        self.screen = screen
        self.plugin = plugin_of(app)
        self.acts = [Act(n, story, Jobs(app), processes.flower_url) for n, story in enumerate(STORIES, 1)]
        self._began = time.monotonic()

    def give(self) -> list[str]:
        """Tell every story to its end; gives the promises that were broken."""
        try:
            self._wait_for_processes()
            self._tell()
        except PromiseBroken as broken:
            return [str(broken)]
        broken_ones = [f"{act.number} {act.story.title}: {act.outcome}" for act in self.acts if act.outcome]
        return broken_ones + [f"invariant: {violation}" for violation in self.acts[0].jobs.check()]

    def stay(self) -> list[str]:
        """Keep the shop open, a picture every 5 s, until Ctrl-C; gives what broke meanwhile."""
        from celery_jobs.demo.shop import resize_image

        try:
            for number in itertools.count(1):
                resize_image.delay(f"photo-{number}.jpg", 800)
                until = time.monotonic() + TRADE_SECONDS
                while time.monotonic() < until:
                    self._look(self.acts, "over; the shop stays open, a picture every 5 s. Ctrl-C ends everything")
        except KeyboardInterrupt:
            return []
        except PromiseBroken as broken:
            return [str(broken)]
        return []

    def _wait_for_processes(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while set(self.processes.states.values()) != {"running"}:
            self._look([], "the processes start")
            if time.monotonic() > deadline:
                raise PromiseBroken(f"not every process was up within {START_SECONDS:.0f} s: {self.processes.states}")

    def _tell(self) -> None:
        opened = time.monotonic()
        while any(act.outcome is None for act in self.acts):
            begun = 1 + int((time.monotonic() - opened) / CURTAIN_SECONDS)
            self._look(self.acts[:begun], "the stories are told")
        self._look(self.acts, "every story is told")

    def _look(self, acts: list[Act], now: str) -> None:
        for act in acts:
            act.step()
        states = self.processes.states
        self.screen.show(View(self._elapsed, now, self.acts, states, self._services(), self.processes.flower_url))
        for name, state in states.items():
            if state == "ended":
                raise PromiseBroken(f"the process {name} has ended; its log is in {self.processes.folder}")
        time.sleep(LOOK_SECONDS)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _services(self) -> dict[str, float]:
        ages = services.age(self.plugin.db)
        return {name: ages[name] for name in SERVICES if name in ages}


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end everything in good order too."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to(file: Path) -> None:
    """Send what the tour's own process logs, and warnings, to a file: the screen is for the stories."""
    logging.basicConfig(filename=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.captureWarnings(True)
