"""`python -m tests.chaos --jobs 2000 --minutes 3 --seed 7`: a run, its figures, and 0 only where no rule was broken."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace

from tests.chaos import bare
from tests.chaos.course import folder_of_a_run, run
from tests.chaos.nemesis import FAULTS
from tests.chaos.plan import BROKEN_PLANS, Plan


def main() -> int:
    """Make the run that the arguments ask for."""
    asked = _arguments()
    plan = Plan(asked.jobs, asked.minutes * 60, asked.seed, tuple(asked.fault or ()), bare=asked.bare)
    if asked.broken:
        plan = replace(BROKEN_PLANS[asked.broken][0], seed=asked.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with folder_of_a_run(asked.keep) as folder:
        if asked.keep:
            print(f"kept in {folder}")
        report = run(plan, folder) if plan.bare is None else bare.run(plan, folder)
        print(report, flush=True)
    return 1 if report.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="jobs to enqueue")
    parser.add_argument("--minutes", type=float, default=3, help="how long to enqueue them, and to strike")
    parser.add_argument("--seed", type=int, default=1, help="of the jobs and the faults")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this fault; may be repeated")
    parser.add_argument(
        "--broken", choices=BROKEN_PLANS, help="a deliberately broken build, with the run that catches it"
    )
    parser.add_argument(
        "--bare", choices=["early", "late"], help="the same with bare Celery, acknowledging early or late"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the log and the processes' output")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
