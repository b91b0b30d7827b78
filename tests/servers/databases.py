"""Databases made and dropped on a PostgreSQL server, whoever started it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

BOTH = ["postgresql", pytest.param("sqlite", marks=pytest.mark.matrix)]
"""The databases of stories that are much the same on either: plain pytest runs them on the one of production."""


@dataclass(slots=True)
class Databases:
    """The databases of one server, running anywhere."""

    server_url: str

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one database."""
        url = make_url(self.server_url).set(drivername="postgresql+psycopg", database=database)
        return url.render_as_string(hide_password=False)

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database as a copy of `template` and return its URL."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, if there, together with the connections to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def version(self) -> str:
        """The server's version, such as 17.10."""
        with self._connect() as connection:
            return connection.info.parameter_status("server_version") or "of unknown version"

    def _execute(self, statement: str, *names: str) -> None:
        """Run a statement outside any transaction, its gaps filled with quoted names."""
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        url = make_url(self.server_url).set(drivername="postgresql")
        if not url.database:
            url = url.set(database="postgres")
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, connect_timeout=10)
