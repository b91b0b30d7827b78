from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from celery_jobs.errors import SchemaOutdated, StoreUnavailable
from celery_jobs.store import migrations
from celery_jobs.store.db import Database
from celery_jobs.store.migrations import HEAD, VERSION_TABLE, VERSIONS, config, current, require, upgrade
from celery_jobs.store.tables import jobs, messages, metadata
from tests.store.conftest import complete, new_job, race, store, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLES = set(metadata.tables)

# What an index covers, where, and how a table is kept: things that autogenerate does not compare.
_DETAILS = {
    "postgresql": (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "UNION ALL SELECT relname, array_to_string(reloptions, ',') FROM pg_class WHERE relname = 'jobs' "
        "UNION ALL SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default) "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
    ),
    "sqlite": (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' "
        "UNION ALL SELECT t.name || '.' || c.name, c.type || ' ' || c.\"notnull\" || ' ' || ifnull(c.dflt_value, '') "
        "FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY 1"
    ),
}


@pytest.fixture
def migrated(database_url: str) -> Iterator[Database]:
    """A database with our tables."""
    database = Database(database_url, timeout=20)
    yield database
    database.dispose()


@pytest.fixture
def empty(migrated: Database) -> Database:
    """A database without our tables."""
    _drop_all(migrated)
    return migrated


@pytest.fixture
def empty_postgresql(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A PostgreSQL database without our tables."""
    database = Database(request.getfixturevalue("new_postgresql_database")(), timeout=20)
    _drop_all(database)
    yield database
    database.dispose()
    request.getfixturevalue("postgres").drop_database(str(database.url.database))


def _drop_all(db: Database) -> None:
    with db.transaction() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")


def _tables(db: Database) -> set[str]:
    with db.reading() as connection:
        return set(inspect(connection).get_table_names()) - {VERSION_TABLE}


def _details(db: Database) -> list[tuple[Any, ...]]:
    with db.reading() as connection:
        rows = connection.exec_driver_sql(_DETAILS[db.url.get_backend_name()])
        return [tuple(row) for row in rows if VERSION_TABLE not in str(row[0])]


def _set_version(db: Database, version: str) -> None:
    with db.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")


def test_the_migrated_schema_is_that_of_the_tables(migrated: Database) -> None:
    with migrated.reading() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "version_table": VERSION_TABLE,
            "include_object": lambda thing, *_: not (migrated.is_sqlite and _is_not_compared(thing)),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def _is_not_compared(thing: Any) -> bool:
    """Whether an index is made on PostgreSQL alone, or says an order: alembic does not look at either, details do."""
    return getattr(thing, "_ddl_if", None) is not None or getattr(thing, "name", None) == "jobs_limited"


def test_the_migrated_schema_has_the_details_of_the_tables(migrated: Database) -> None:
    before = _details(migrated)
    with migrated.transaction() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert before == _details(migrated)
    assert len(before) > len(TABLES)


def test_head_is_the_newest_script() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert scripts.get_current_head() == HEAD
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(VERSIONS))


def test_an_upgrade_tells_the_version_before_and_twice_is_harmless(empty: Database) -> None:
    assert current(empty) is None
    assert upgrade(empty) is None
    job_id = store(empty)
    assert upgrade(empty) == HEAD
    assert current(empty) == HEAD
    assert stored(empty, job_id).status == "pending"


def test_two_upgrades_at_once_are_harmless(empty: Database) -> None:
    versions = race(*[partial(upgrade, str(empty.url.render_as_string(hide_password=False)))] * 2)
    assert sorted(versions, key=str) == [HEAD, None]
    assert _tables(empty) == TABLES


def test_what_is_followed_is_told_by_a_trigger_that_looks_at_nothing_else(migrated: Database) -> None:
    if migrated.is_sqlite:
        return
    query = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'jobs'::regclass AND NOT tgisinternal"
    for again in (False, True):
        if again:
            with migrated.transaction() as connection:
                command.downgrade(config(connection), "0007")
                assert connection.exec_driver_sql(query).all() == []
            upgrade(migrated)
        with migrated.reading() as connection:
            (trigger,) = connection.exec_driver_sql(query).scalars()
        assert "AFTER INSERT OR UPDATE" in trigger
        assert "WHEN (new.followed)" in trigger


def test_down_and_up_again_gives_the_same_schema(migrated: Database) -> None:
    before = _details(migrated)
    with migrated.transaction() as connection:
        command.downgrade(config(connection), "base")
    assert _tables(migrated) == set()
    assert current(migrated) is None
    upgrade(migrated)
    assert _details(migrated) == before


def test_an_upgrade_keeps_the_jobs_that_are_there(empty: Database) -> None:
    """Also those that an old worker goes on writing, which knows nothing of what the new version has added."""
    upgrade(empty, VERSIONS[0])
    old = _columns(empty)
    before = _insert_as(empty, old)
    upgrade(empty)
    after = _insert_as(empty, old)
    for job_id in (before, after):
        job = stored(empty, complete(empty, job_id))
        assert (job.callback_state, job.callback_tries, job.final_status) == ("due", 0, "success")


def _columns(db: Database) -> list[str]:
    with db.reading() as connection:
        return [column["name"] for column in inspect(connection).get_columns("jobs")]


def _insert_as(db: Database, columns: list[str]) -> str:
    """A job as a version writes it that has these columns."""
    new = new_job(callback_url="https://shop.example/hook")
    moment = datetime.now(UTC) - timedelta(seconds=10)
    more = {"original_id": new.id, "message_id": new.message.id, "status": "pending", "scheduled_at": moment}
    values = {**asdict(new), **more, "created_at": moment}
    with db.transaction() as connection:
        connection.execute(messages.insert().values(asdict(new.message)))
        connection.execute(jobs.insert().values({name: values[name] for name in columns if name in values}))
    return new.id


BREAK = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jobs_callbacks'::regclass"
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('jobs_callbacks')"


@pytest.mark.parametrize("left", [False, True], ids=["afresh", "after one that was killed"])
def test_the_index_is_built_beside_those_who_write(empty_postgresql: Database, left: bool) -> None:
    db = empty_postgresql
    upgrade(db, "0001")
    if left:
        with db.transaction() as connection:
            connection.exec_driver_sql("CREATE INDEX jobs_callbacks ON jobs (callback_state)")
            connection.exec_driver_sql(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jobs_callbacks'::regclass"
            )
    with db.transaction() as writer:
        writer.exec_driver_sql("LOCK TABLE services IN EXCLUSIVE MODE")
        assert upgrade(db) == "0001"
    with db.reading() as connection:
        assert connection.exec_driver_sql(INDEX).scalar() is True
        (definition,) = connection.exec_driver_sql(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'jobs_callbacks'"
        ).one()
    assert "(callback_at) WHERE" in definition


def test_indexes_are_replaced_beside_those_who_write(empty_postgresql: Database) -> None:
    db = empty_postgresql
    upgrade(db, "0003")
    assert "jobs_open" in _indexes(db)
    with db.transaction() as writer:
        writer.exec_driver_sql("LOCK TABLE services IN EXCLUSIVE MODE")
        assert upgrade(db) == "0003"
    assert "jobs_open" not in _indexes(db)
    assert {name for _, name, _ in migrations.CONCURRENTLY} <= _indexes(db)


def _indexes(db: Database) -> set[str]:
    with db.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid "
            "WHERE indrelid = 'jobs'::regclass AND indisvalid"
        )
        return set(rows.scalars())


def test_an_upgrade_gives_up_where_a_table_is_in_use_and_works_when_it_is_not(
    empty_postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LONGEST_LOCK", 0.2)
    db = empty_postgresql
    upgrade(db, "0001")
    migrations._build_indexes(db)
    with db.transaction() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM jobs")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            upgrade(db)
    assert current(db) == "0001"
    assert upgrade(db) == "0001"
    assert current(db) == HEAD


def test_postgresql_without_tables_names_the_command(empty_postgresql: Database) -> None:
    with pytest.raises(SchemaOutdated, match=r"no tables yet; run: celery -A <your app> jobs migrate"):
        require(empty_postgresql)
    assert _tables(empty_postgresql) == set()


def test_a_statement_without_tables_names_the_command_too(empty_postgresql: Database) -> None:
    with pytest.raises(SchemaOutdated, match="celery -A <your app> jobs migrate"):
        store(empty_postgresql)


def test_an_old_schema_on_postgresql_names_the_command(
    empty_postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(empty_postgresql)
    monkeypatch.setattr(migrations, "VERSIONS", (HEAD, "9998"))
    monkeypatch.setattr(migrations, "HEAD", "9998")
    with pytest.raises(SchemaOutdated, match=f"the version {HEAD}, older than 9998; run: celery"):
        require(empty_postgresql)


def test_a_message_about_the_schema_shows_no_password(empty_postgresql: Database) -> None:
    url = empty_postgresql.url.set(password="secret-word")
    database = Database(url.render_as_string(hide_password=False))
    try:
        with pytest.raises(SchemaOutdated) as caught:
            require(database)
    finally:
        database.dispose()
    assert "secret-word" not in str(caught.value)


def test_sqlite_makes_itself(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    try:
        require(database)
        assert current(database) == HEAD
        assert stored(database, store(database)).status == "pending"
    finally:
        database.dispose()


def test_sqlite_that_many_make_at_once_is_made_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path / 'new.sqlite3'}") for _ in range(4)]
    try:
        race(*[partial(require, database) for database in databases])
        assert _tables(databases[0]) == TABLES
    finally:
        for database in databases:
            database.dispose()


def test_a_newer_version_is_accepted(migrated: Database) -> None:
    _set_version(migrated, "9999")
    require(migrated)
    assert current(migrated) == "9999"
    store(migrated)
