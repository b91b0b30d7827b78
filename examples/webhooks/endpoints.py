"""Endpoints: URLs registered for types of events, enabled, or disabled and why. A table beside that of the jobs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import JSON, NullPool, create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from webhooks.app import app

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Endpoint", "disable", "enable", "everyone", "get", "register", "subscribed_to"]


class Base(DeclarativeBase):
    pass


class Endpoint(Base):
    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(JSON)
    disabled_because: Mapped[str | None]
    """None: it is enabled."""


def register(url: str, event_types: Sequence[str]) -> Endpoint:
    endpoint = Endpoint(id=f"ep_{uuid4().hex[:12]}", url=url, event_types=list(event_types), disabled_because=None)
    with _sessions().begin() as session:
        session.add(endpoint)
    return endpoint


def get(id: str) -> Endpoint:
    """Raises LookupError for an id that nobody has."""
    with _sessions()() as session:
        endpoint = session.get(Endpoint, id)
    if endpoint is None:
        raise LookupError(f"no endpoint has the id {id!r}")
    return endpoint


def everyone() -> Sequence[Endpoint]:
    with _sessions()() as session:
        return session.scalars(select(Endpoint).order_by(Endpoint.url)).all()


def subscribed_to(event_type: str) -> list[Endpoint]:
    """Those enabled."""
    return [
        endpoint for endpoint in everyone() if endpoint.disabled_because is None and event_type in endpoint.event_types
    ]


def disable(id: str, because: str) -> None:
    _set_disabled(id, because)


def enable(id: str) -> None:
    _set_disabled(id, None)


def _set_disabled(id: str, because: str | None) -> None:
    with _sessions().begin() as session:
        session.execute(update(Endpoint).where(Endpoint.id == id).values(disabled_because=because))


@cache
def _sessions() -> sessionmaker[Session]:
    # No pool: its connections would be shared with the children that a worker forks.
    engine = create_engine(app.conf.jobs_database_url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return sessionmaker(engine, expire_on_commit=False)
