"""The jobs database: its schema, its rules, how safely it writes, its clock, and the way to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from celery_jobs.doctor.addresses import is_remote
from celery_jobs.doctor.finding import Check, check
from celery_jobs.store import invariants, migrations, reads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS", "outdated"]

MOST_SKEW = 2.0
"""Seconds between two clocks that are nobody's trouble."""


@check("schema-outdated", "error")
def outdated(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """A SQLite file is made and upgraded by itself."""
    if plugin.unchecked_db.is_sqlite:
        return
    problem = migrations.problem(plugin.unchecked_db)
    if problem is not None:
        yield f"the jobs database {plugin.where} {problem}", "run: celery -A <your app> jobs migrate"


@check("schema-newer", "info")
def newer(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """As during a deploy."""
    version = migrations.current(plugin.db)
    if version not in migrations.VERSIONS:
        yield (
            f"the jobs database has version {version}, newer than {migrations.HEAD}, which is known here",
            "upgrade celery-jobs here; during a deploy there is nothing to do",
        )


@check("invariant-broken", "error")
def broken(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Each job that breaks one of the rules by which all of this works."""
    for found in invariants.check(plugin.db):
        yield (
            f"job {found.job_id} breaks invariant {found.number}: {found.rule}",
            f"see it: celery -A <your app> jobs show {found.job_id}; report it unless its row was changed by hand",
        )


@check("fsync-off", "warning")
def fsync_off(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """PostgreSQL's server may be told to lose everything."""
    if _shown(plugin, "fsync") == "off":
        yield "PostgreSQL runs with fsync = off: a crash can destroy the database", "set fsync = on and restart it"


@check("synchronous-commit-off", "warning")
def synchronous_commit_off(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """As our own sessions have it: by server, database or user."""
    if _shown(plugin, "synchronous_commit") == "off":
        yield (
            "PostgreSQL commits with synchronous_commit = off: a crash loses the newest jobs and ends",
            "set synchronous_commit = on for this database or its user",
        )


@check("clock-differs", "warning")
def clock_differs(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """The database's clock decides; SQLite has this machine's."""
    if plugin.db.is_sqlite:
        return
    before, database, after = _machine_time(), reads.database_time(plugin.db), _machine_time()
    skew = max((before - database).total_seconds(), (database - after).total_seconds())
    if skew > MOST_SKEW:
        yield (
            f"the clocks of this machine and of the database differ by {skew:.1f} s",
            "run a time service (NTP) on both; an eta given by this machine is judged by the database's clock",
        )


@check("database-without-tls", "warning")
def database_without_tls(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """As the connection really is."""
    if plugin.db.is_sqlite:
        return
    with plugin.db.asking() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        clear, address = not driver.pgconn.ssl_in_use, driver.info.hostaddr
    if clear and is_remote(address):
        yield (
            f"jobs go to the database at {address} in the clear",
            "add ?sslmode=verify-full to jobs_database_url",
        )


def _machine_time() -> datetime:
    return datetime.now(UTC)


def _shown(plugin: Plugin, setting: str) -> str | None:
    """A setting of PostgreSQL; None elsewhere."""
    if plugin.db.is_sqlite:
        return None
    with plugin.db.asking() as connection:
        return str(connection.exec_driver_sql(f"SHOW {setting}").scalar_one())


CHECKS: tuple[Check, ...] = (newer, broken, fsync_off, synchronous_commit_off, clock_differs, database_without_tls)
