"""`python -m tests.celery_suites`: Celery's own tests on bare Celery and with jobs; 0 where nothing else passes.

`--only unit/tasks` runs one suite, `--test t/unit/…::test_it` one test; `--keep FOLDER` leaves each process's output.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.celery_suites.deselected import DESELECTED, RACES
from tests.celery_suites.judging import judge, suspects
from tests.celery_suites.report import SuiteReport, table
from tests.celery_suites.running import SIDES, Bench, Ran, Side
from tests.celery_suites.source import fetch
from tests.celery_suites.suites import SUITES, Part, Suite, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable

MORE_TRIES = 4
MOST_RUN_AGAIN = 30
"""Tests of a suite; more that differ are no flakes."""


def main() -> int:
    """Make the run that the arguments ask for."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    suites = [suite for suite in SUITES if not asked.only or suite.name in asked.only]
    parts = {suite: found for suite in suites if (found := parts_of(_split(suite, asked.parts), asked.test))}
    if not parts:
        sys.exit("no suite has such a test")
    with tempfile.TemporaryDirectory(prefix="celery-suites-") as temporary:
        source = fetch(asked.cache or Path(temporary, "source"))
        folder = asked.keep or Path(temporary)
        with ThreadPoolExecutor(asked.jobs) as pool, Bench(folder.resolve(), source.resolve()) as bench:
            ran = _run(pool, bench, [part for suite in parts for part in parts[suite]])
            reports = [_judged(bench, suite, parts[suite], ran) for suite in parts]
    return _tell(reports, time.monotonic() - started)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.celery_suites", description=__doc__)
    names = [suite.name for suite in SUITES]
    parser.add_argument("--only", action="append", choices=names, help="only this suite; may be repeated")
    parser.add_argument("--test", action="append", default=[], help="only this test, by name; may be repeated")
    parser.add_argument("--parts", type=int, help="processes that a long suite is split into")
    parser.add_argument("--jobs", type=int, default=8, help="processes at once; most of them wait")
    parser.add_argument("--cache", type=Path, help="where Celery's source is, or is fetched to")
    parser.add_argument("--keep", type=Path, help="an empty folder for the processes' output")
    return parser.parse_args()


def _split(suite: Suite, parts: int | None) -> Suite:
    return suite if parts is None or suite.parts == 1 else replace(suite, parts=parts)


def _run(pool: ThreadPoolExecutor, bench: Bench, parts: Iterable[Part]) -> dict[tuple[Part, Side], Ran]:
    """Run all parts on both sides, each telling when it is done."""
    asked = {pool.submit(bench.run, part, side): (part, side) for part in parts for side in SIDES}
    try:
        for future in as_completed(asked):
            part, side = asked[future]
            ran = future.result()
            print(f"{part.name} {side}: {len(ran.outcomes)} tests in {ran.seconds:.0f} s", flush=True)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return {asked[future]: future.result() for future in asked}


def _judged(bench: Bench, suite: Suite, parts: list[Part], ran: dict[tuple[Part, Side], Ran]) -> SuiteReport:
    """A suite's verdict, after what differs was run once more, alone, on both sides."""
    asked = parts[0].tests or DESELECTED
    deselected = [test for test in DESELECTED if suite.has(test) and test in asked]
    bare, ours = _whole("bare", parts, ran), _whole("jobs", parts, ran)
    doubted = tuple(sorted(suspects(bare.outcomes, ours.outcomes, deselected, RACES)))
    again, texts = None, dict(ours.texts)
    if 0 < len(doubted) <= MOST_RUN_AGAIN:
        second, theirs = _again(bench, suite, doubted)
        again, texts = (theirs.outcomes, second.outcomes), texts | second.texts
        ours.faults.extend([*second.faults, *theirs.faults])
    verdict = judge((bare.outcomes, ours.outcomes), again, deselected, RACES)
    return SuiteReport(suite, bare, ours, len(deselected), verdict, texts)


def _again(bench: Bench, suite: Suite, doubted: tuple[str, ...]) -> tuple[Ran, Ran]:
    """Suspects alone, with jobs and on bare Celery, until they pass with jobs or fail on bare Celery too.

    Some of Celery's tests lose races of their own, also where nothing else runs.
    """
    print(f"{suite.name}: once more, alone: {', '.join(doubted)}", flush=True)
    alone = Part(suite, tests=doubted)
    ours, theirs = bench.run(alone, "jobs"), bench.run(alone, "bare")
    for _ in range(MORE_TRIES):
        failed = tuple(test for test in doubted if (ours.outcomes.get(test), theirs.outcomes.get(test)) == _DIFFER)
        if not failed:
            break
        ours.outcomes.update(bench.run(Part(suite, tests=failed), "jobs").outcomes)
        theirs.outcomes.update(bench.run(Part(suite, tests=failed), "bare").outcomes)
    return ours, theirs


_DIFFER = ("failed", "passed")


def _whole(side: Side, parts: list[Part], ran: dict[tuple[Part, Side], Ran]) -> Ran:
    """A suite on one side, of its parts."""
    whole = Ran({}, {}, 0)
    for part in (ran[part, side] for part in parts):
        whole = Ran(
            {**whole.outcomes, **part.outcomes},
            {**whole.texts, **part.texts},
            whole.seconds + part.seconds,
            rows=whole.rows + part.rows,
            faults=[*whole.faults, *part.faults],
        )
    return whole


def _tell(reports: list[SuiteReport], seconds: float) -> int:
    print("\n" + table(reports))
    print("\n".join(remark for report in reports for remark in report.remarks))
    faults = [fault for report in reports for fault in report.faults]
    print("\n".join(faults))
    print(f"Celery's suites: {len(faults)} faults in {seconds:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
