"""A database that freezes under greenlets holds none of them for ever, and under gevent it does not stop the others."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pools.conftest import GREEN, importing
from tests.processes import SOURCE

if TYPE_CHECKING:
    from tests.servers.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

MOST_SECONDS = 3.0


@pytest.mark.parametrize("pool", GREEN)
def test_an_enqueue_into_a_frozen_database_is_an_error_in_time(
    pool: str, own_postgres: Postgres, fragile_url: str
) -> None:
    importing(pool)
    caller = subprocess.Popen(
        [sys.executable, "-m", "tests.pools.frozen_database", pool, fragile_url],
        cwd=SOURCE.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with caller:
        try:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "ready\n"
            with own_postgres.frozen():
                said, _ = caller.communicate("go on\n", timeout=20)
        finally:
            caller.kill()
    error, seconds, turns = said.split()
    assert error == "StoreUnavailable"
    assert float(seconds) < MOST_SECONDS
    if pool == "gevent":
        assert int(turns) > 1
