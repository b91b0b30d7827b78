"""Keeping every change of a row by a trigger, and reading it with the rows when all is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from celery_jobs.store import invariants
from celery_jobs.store.tables import jobs
from tests.chaos.evidence import Evidence, Row, Transition

if TYPE_CHECKING:
    from pathlib import Path

    from celery_jobs.store.db import Database

__all__ = ["gather", "keep_changes"]

_TRIGGERS = """
CREATE TABLE chaos_changes (
    seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), op text NOT NULL, job text,
    before text, after text, old_token text, token text, worker text, old_losses int NOT NULL DEFAULT 0,
    losses int NOT NULL DEFAULT 0);
CREATE FUNCTION chaos_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos_changes (op, job, after, losses) VALUES ('insert', NEW.id, NEW.status, NEW.losses);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO chaos_changes (op, job, before) VALUES ('delete', OLD.id, OLD.status);
    ELSE
        INSERT INTO chaos_changes (op, job, before, after, old_token, token, worker, old_losses, losses)
        VALUES ('update', NEW.id, OLD.status, NEW.status, OLD.lease_token, NEW.lease_token, NEW.worker,
                OLD.losses, NEW.losses);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_made AFTER INSERT OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_job();
CREATE TRIGGER chaos_changed AFTER UPDATE ON jobs FOR EACH ROW
    WHEN ((OLD.status, OLD.lease_token, OLD.losses, OLD.result, OLD.finished_at)
          IS DISTINCT FROM (NEW.status, NEW.lease_token, NEW.losses, NEW.result, NEW.finished_at))
    EXECUTE FUNCTION chaos_job();
CREATE FUNCTION chaos_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_changes (op, worker) VALUES ('dead', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_dead AFTER UPDATE ON workers FOR EACH ROW
    WHEN (OLD.dead_at IS NULL AND NEW.dead_at IS NOT NULL) EXECUTE FUNCTION chaos_worker();
"""


def keep_changes(db: Database) -> None:
    """Make the database itself write down every change from now on."""
    with db.transaction() as connection:
        connection.exec_driver_sql(_TRIGGERS)


def gather(db: Database, log: Path) -> Evidence:
    """The log and the tables, as they are now."""
    from tests.chaos.history import read_log

    with db.reading() as connection:
        rows = [_row(row._mapping) for row in connection.execute(select(jobs))]
        changes = connection.execute(text("SELECT * FROM chaos_changes ORDER BY seq"))
        transitions = [_transition(row._mapping) for row in changes]
    broken = tuple(f"{found.number}: {found.rule}: {found.job_id}" for found in invariants.check(db))
    return Evidence(read_log(log), rows, transitions, broken)


def _row(columns: Any) -> Row:
    names = [name for name in Row.__slots__ if name != "number"]
    return Row(number=int((columns["tags"] or {}).get("number", -1)), **{name: _plain(columns[name]) for name in names})


def _transition(columns: Any) -> Transition:
    return Transition(**{name: _plain(columns[name]) for name in Transition.__slots__})


def _plain(value: Any) -> Any:
    """Moments as seconds, everything else as it is."""
    return value.timestamp() if hasattr(value, "timestamp") else value
