"""The shop's table, and its sessions: one for each request, and one for each attempt of a task."""

from __future__ import annotations

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

__all__ = ["URL", "Order", "close", "create_tables", "session"]

URL = os.environ.get("DATABASE_URL", "sqlite:///flask-shop.sqlite3")

engine = create_engine(URL)
session = scoped_session(sessionmaker(engine))


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "flask_orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    seat: Mapped[str] = mapped_column(unique=True)
    card: Mapped[str]
    paid: Mapped[bool] = mapped_column(default=False)


def create_tables() -> None:
    """Create the shop's tables."""
    Base.metadata.create_all(engine)


def close(error: BaseException | None = None) -> None:
    """Where a request or an attempt ends: what it has not committed is rolled back."""
    session.remove()
