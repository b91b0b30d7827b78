"""Whether the broker answers, and whether it keeps what it is given."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu import Producer

from celery_jobs.broker_connection import broker_errors
from celery_jobs.doctor.finding import Check, check
from celery_jobs.sending import sender_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_jobs.plugin import Plugin

__all__ = ["CHECKS", "away"]


@check("broker-away", "error")
def away(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """One try, as long as an enqueue would wait."""
    with plugin.app.connection_for_write() as connection:
        producer = Producer(connection)
        try:
            with _connected(plugin):
                pass
        except broker_errors(producer) as error:
            yield (
                f"the broker {connection.as_uri()} does not answer: {error}",
                "start it, or mend broker_url; until then jobs are stored, and sent when it is back",
            )


@check("broker-evicts", "error")
def evicts(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Redis that is full has to refuse, not to forget."""
    with _redis(plugin) as client:
        policy = "noeviction" if client is None else client.info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"the broker's maxmemory-policy is {policy}: when it is full it throws away messages and results",
            "set maxmemory-policy noeviction, or give the broker a Redis of its own",
        )


@check("broker-forgets", "info")
def forgets(plugin: Plugin) -> Iterator[tuple[str, str]]:
    """Neither an append-only file nor snapshots."""
    with _redis(plugin) as client:
        if client is not None and not client.info("persistence")["aof_enabled"] and not _saves(client):
            yield (
                "the broker keeps nothing over a restart; lost messages are sent again from the database",
                "nothing has to be done; results and messages that are no jobs of ours need appendonly yes",
            )


def _saves(client: Any) -> bool:
    return bool(client.config_get("save").get("save"))


@contextmanager
def _redis(plugin: Plugin) -> Iterator[Any]:
    """The broker's client where it speaks Redis' protocol; None where it does not."""
    with _connected(plugin) as connection:
        yield connection.default_channel.client if connection.transport.driver_type == "redis" else None


@contextmanager
def _connected(plugin: Plugin) -> Iterator[Any]:
    """A connection of its own, as impatient as the sender's."""
    with plugin.app.connection_for_write() as connection:
        sender_of(plugin).connect(Producer(connection))
        yield connection


CHECKS: tuple[Check, ...] = (evicts, forgets)
