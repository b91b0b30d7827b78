"""`python -m celery_jobs demo`: what celery-jobs does, shown on real processes, nothing to set up."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import click

__all__ = ["main"]


@click.group()
def main() -> None:
    """celery-jobs: the job layer for Celery. Everything but the demo is under `celery -A <your app> jobs`."""


@main.command()
@click.option("--exit", "leave", is_flag=True, help="End after the tour; status 0 if every job ended as promised.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path(".data/demo"), help="Folder for database and logs."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Flower's port; 5555, or a free one, if not given.")
def demo(leave: bool, data: Path, port: int | None) -> None:
    """Show a small shop whose jobs fail, wait, die and come back."""
    _require_extra()
    from celery_jobs.demo.folder import FolderRefused
    from celery_jobs.demo.processes import PortTaken, flower_port
    from celery_jobs.demo.screen import make_screen
    from celery_jobs.demo.tour import give_tour
    from celery_jobs.demo.valkey import ValkeyUnavailable

    screen = make_screen()
    began = time.monotonic()
    try:
        broken = give_tour(data, flower_port(port), screen, stay=not leave)
    except (FolderRefused, PortTaken, ValkeyUnavailable) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        screen.say("Stopped before the tour was over; every process has ended.")
        sys.exit(130)
    if broken:
        screen.say("Not as promised:\n" + "\n".join(f"  - {promise}" for promise in broken), "bold red")
        sys.exit(1)
    screen.say(
        f"Every job ended as promised. All processes have ended, after {time.monotonic() - began:.1f} s.", "green"
    )


def _require_extra() -> None:
    if find_spec("flower") is None:
        raise click.ClickException("the demo needs Flower; run: pip install 'celery-jobs[demo]'")


if __name__ == "__main__":
    main(prog_name="python -m celery_jobs")
