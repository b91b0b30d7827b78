"""The tables of who may, and of who did: API tokens and the audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from celery_jobs.store.columns import Id, Json, Timestamp, metadata

__all__ = ["audit", "tokens"]

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("queues", Json),
    Column("rate", Integer, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("created_by", Text),
    Column("expires_at", Timestamp),
    Column("last_used_at", Timestamp),
    Column("revoked_at", Timestamp),
    Column("revoked_by", Text),
)
"""API tokens, of which nobody can make the secret again: `digest` is its SHA-256."""

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Timestamp, nullable=False),
    Column("actor", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("address", Text),
    Column("token_id", Id),
    Column("action", Text, nullable=False),
    Column("target", Json, nullable=False),
    Column("reason", Text),
    Column("matched", BigInteger),
    Column("done", BigInteger),
    Column("skipped", BigInteger),
    Column("result", Text),
    Column("error", Text),
    Column("updated_at", Timestamp, nullable=False),
    Column("finished_at", Timestamp),
    Column("stop_requested_at", Timestamp),
)
"""Every act that changes something, written before it begins and completed when it ends."""
