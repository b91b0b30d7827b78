"""The shop's table, in one database that requests reach without waiting, and tasks as tasks do."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["URL", "Base", "Order", "async_engine", "engine"]

URL = make_url(os.environ.get("DATABASE_URL", "sqlite:///fastapi-shop.sqlite3"))

engine = create_engine(URL)
# psycopg does both; SQLite has a driver for each.
async_engine = create_async_engine(URL.set(drivername="sqlite+aiosqlite") if URL.drivername == "sqlite" else URL)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "fastapi_orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    seat: Mapped[str] = mapped_column(unique=True)
    card: Mapped[str]
    paid: Mapped[bool] = mapped_column(default=False)
