"""`python -m benchmarks --quick`: measure, print the table, write JSON; 0 where all that was measured is met."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks import course, environments, machine, records, report
from benchmarks.contenders import PEERS
from benchmarks.goals import GOALS, judge
from benchmarks.measures import MEASURES
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Readings

WIDTH = 120
"""Columns of a table that goes into a file."""


def main() -> int:
    """Make the run that the arguments ask for, or put several together."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console, say = Console(width=None if sys.stdout.isatty() else WIDTH), _clock()
    if asked.prepare:
        return _prepare(say)
    try:
        runs, readings = records.merged(asked.merge) if asked.merge else _measured(asked, say)
    except records.Incompatible as error:
        sys.exit(f"error: {error}")
    for table in report.tables(readings):
        console.print(table)
    for run in runs:
        console.print(report.summary(run))
    _write(asked, report.as_json(runs, readings))
    return int(any(judge(goal, readings).verdict == "missed" for goal in GOALS))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a look in three minutes (the default)")
    size.add_argument("--full", action="store_true", help="hours: ten million rows, five rounds")
    parser.add_argument("--only", action="append", choices=MEASURES, help="only this measure; may be repeated")
    parser.add_argument("--rows", type=int, help="rows of the large history")
    parser.add_argument("--rounds", type=int, help="rounds of each measure")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=NUMBER", help="another size of the plan, such as pinned=60"
    )
    parser.add_argument("--json", type=Path, help="write everything that was read to this file")
    parser.add_argument("--plots", type=Path, help="draw pictures (PNG) into this folder; needs the extra bench")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE", help="measure nothing: join what runs wrote")
    parser.add_argument("--prepare", action="store_true", help="only make the environments of the peers")
    return parser.parse_args()


def _clock() -> Callable[[str], None]:
    """Says on standard error what goes on, and after how many seconds."""
    started = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {words}", file=sys.stderr, flush=True)

    return say


def _prepare(say: Callable[[str], None]) -> int:
    for peer in PEERS.values():
        try:
            say(f"{peer.name}: {environments.bin_of(peer)}")
        except environments.Unavailable as error:
            say(f"{peer.name}: {error}")
    return 0


def _measured(asked: argparse.Namespace, say: Callable[[str], None]) -> tuple[list[dict[str, Any]], Readings]:
    plan, started = _plan(asked), time.monotonic()
    names = asked.only or [name for name in MEASURES if name not in plan.left_out]
    if plan.left_out and not asked.only:
        say(f"the plan {plan.name} leaves out {', '.join(plan.left_out)}; --only NAME measures one of them")
    with staged(say) as stage:
        before = machine.load()
        readings = course.run(stage, [MEASURES[name] for name in names], plan)
        took_part = sorted({name for contenders in readings.rounds.values() for name in contenders})
        facts = {**machine.facts(stage, took_part), "load_before": before, "load_after": machine.load()}
    facts["seconds"] = round(time.monotonic() - started)
    return [report.run_as_json(plan, facts, readings)], readings


def _plan(asked: argparse.Namespace) -> Plan:
    plan = FULL if asked.full else QUICK
    if asked.rows is not None:
        plan = replace(plan, many_rows=asked.rows)
    if asked.rounds is not None:
        plan = replace(plan, rounds=asked.rounds, long_rounds=asked.rounds)
    try:
        return plan.resized(asked.size)
    except ValueError as error:
        sys.exit(f"error: {error}")


def _write(asked: argparse.Namespace, said: dict[str, Any]) -> None:
    if asked.json is not None:
        asked.json.write_text(json.dumps(said, indent=1) + "\n")
    if asked.plots is not None:
        from benchmarks import plots  # matplotlib is in an extra of its own

        plots.draw(said, asked.plots)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
