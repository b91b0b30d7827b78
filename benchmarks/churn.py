"""Jobs passing through the tables: what it leaves of them, of their indexes, and for vacuum to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import counters, draining, tally
from benchmarks.contenders import OURS
from benchmarks.entrant import Failed, entered
from benchmarks.measure import Figures, Measure
from benchmarks.snapshot import AHEAD
from benchmarks.stage import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

__all__ = ["MEASURE", "run"]

LEAST = 20
"""Jobs a second; slower than this it has stopped."""
MB = 1024**2

UPDATES = "SELECT n_tup_upd, n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables WHERE relid = 'jobs'::regclass"
DEAD = "SELECT dead_tuple_percent, free_percent FROM pgstattuple('jobs')"
INDEXES = (
    "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
    " WHERE indrelid IN ('jobs'::regclass, 'messages'::regclass)"
)
TABLES = "SELECT pg_relation_size('jobs'), pg_relation_size('messages')"


def contenders(plan: Plan) -> Sequence[str]:
    """Ours."""
    return (OURS,)


def run(stage: Stage, contender: str, plan: Plan) -> Figures:
    """Produce and drain so many, then look; vacuum, and build the indexes anew to see what they were larger by."""
    with (
        stage.copy_of(stage.database_with(plan.rows)) as database,
        entered(stage, OURS, 0, database) as entrant,
    ):
        with entrant.producing("feed", AHEAD), entrant.working():
            entrant.require_runs(1)
            if not entrant.await_runs(plan.churned, plan.churned / LEAST):
                raise Failed(f"{entrant.runs:,} of {plan.churned:,} jobs have passed")
            times = tally.times(entrant.folder)
        counters.await_alone(database)
        tenth = (times[-1] - times[0]) / 10
        rates = {
            "per_second": len(times) / (times[-1] - times[0]),
            "per_second, first tenth": draining.rate_between(entrant, times[0], times[0] + tenth),
            "per_second, last tenth": draining.rate_between(entrant, times[-1] - tenth, times[-1]),
        }
        return {**rates, **_state(database), **_indexes(database)}


def _state(database: str) -> Figures:
    query(database, "CREATE EXTENSION pgstattuple")
    updates, hot, vacuums = query(database, UPDATES)[0]
    dead, free = query(database, DEAD)[0]
    started = time.perf_counter()
    query(database, "VACUUM jobs")
    seconds = time.perf_counter() - started
    table, messages = query(database, TABLES)[0]
    return {
        "hot_percent": 100 * hot / updates,
        "autovacuums": vacuums,
        "dead_percent": dead,
        "free_percent": free,
        "vacuum_seconds": seconds,
        "jobs_mb": table / MB,
        "messages_mb": messages / MB,
    }


def _indexes(database: str) -> Figures:
    """Sizes, and how many times what they need they have become."""
    used = dict(query(database, INDEXES))
    query(database, "REINDEX TABLE jobs")
    query(database, "REINDEX TABLE messages")
    needed = dict(query(database, INDEXES))
    sizes = {f"{name} MB": size / MB for name, size in used.items()}
    return {**sizes, **{f"{name} bloat": size / needed[name] for name, size in used.items()}}


MEASURE = Measure("churn", "what jobs passing through leave of tables and indexes", contenders, run, long=True)
