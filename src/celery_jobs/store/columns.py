"""What the tables are made of: the kinds of their columns, and the metadata that holds them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, TypeDecorator, Uuid
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["Id", "Json", "Timestamp", "metadata"]

metadata = MetaData()


class Timestamp(TypeDecorator[datetime]):
    """A moment in UTC; aware in Python, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse naive moments; SQLite keeps UTC without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive moment cannot be stored: {value}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Id = Uuid(as_uuid=False)
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
