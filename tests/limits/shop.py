"""Tasks for real workers with limits."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.shops import new_shop

QUEUES = {"narrow": {"concurrency_limit": 2}, "slow": {"rate_limit": "10/s"}}

app = new_shop(
    "limited",
    jobs_queues=QUEUES,
    jobs_queue_defaults={"retry_delays": [0.2]},
    jobs_heartbeat_interval=0.3,
    jobs_worker_timeout=2,
    jobs_reap_interval=0.5,
    worker_prefetch_multiplier=1,
    jobs_database_timeout=10,
)


@app.task(name="limited.wait_for_file")
def wait_for_file(path: str) -> None:
    """Run until a file is there."""
    while not Path(path).exists():
        time.sleep(0.01)


@app.task(name="limited.work")
def work(seconds: float) -> None:
    time.sleep(seconds)
