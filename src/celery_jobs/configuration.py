"""Reads the `jobs_*` settings from a Celery app's configuration, once, and says everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from celery_jobs.destinations import read_destinations
from celery_jobs.errors import InvalidSettings
from celery_jobs.policy import parse_level, resolve
from celery_jobs.rules import RULES, Rule, unknown
from celery_jobs.settings import LONGEST_ALERT_WINDOW, QueueSettings, Settings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["parse_settings", "read_settings"]

PREFIX = "jobs_"

_POLICY = ("allowed_addresses", "allowed_hosts", "blocked_ports")


def read_settings(app: Celery) -> Settings:
    """Read every `jobs_*` key of `app.conf`, also those given through `namespace="CELERY"`.

    Raises InvalidSettings with all faults at once and the nearest right name of each unknown one.
    """
    return parse_settings(_configured(app))


def _configured(app: Celery) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mapping in reversed(app.conf.maps):
        for key, value in dict(mapping).items():
            name = _name_of(str(key), getattr(app, "namespace", None))
            if name is not None:
                found[name] = value
    return found


def _name_of(key: str, namespace: str | None) -> str | None:
    lowered = key.lower()
    for prefix in (PREFIX, f"{namespace.lower()}_{PREFIX}" if namespace else PREFIX, f"celery_{PREFIX}"):
        if lowered.startswith(prefix):
            return lowered.removeprefix(prefix)
    return None


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Make Settings of plain values (keys without the prefix); raises InvalidSettings with all faults."""
    problems: list[str] = []
    known = {f.name for f in fields(Settings)}
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            problems.append(unknown(f"{PREFIX}{name}", [f"{PREFIX}{k}" for k in known]))
        elif name in _READERS:
            accepted[name], faults = _READERS[name](value)
            problems.extend(f"{PREFIX}{name}: {fault}" for fault in faults)
        elif name not in ("queue_defaults", "queues"):
            _check(accepted, name, value, _TYPES[name], problems, PREFIX)
    defaults = _queue(values.get("queue_defaults", {}), QueueSettings(), f"{PREFIX}queue_defaults", problems)
    queues = _queues(values.get("queues", {}), defaults, problems)
    _check_modes(accepted, defaults, queues, problems)
    _check_addresses(accepted, problems)
    if problems:
        raise InvalidSettings(problems)
    return Settings(**accepted, queue_defaults=defaults, queues=queues)


def _check_modes(
    accepted: Mapping[str, Any], defaults: QueueSettings, queues: Mapping[str, QueueSettings], problems: list[str]
) -> None:
    """Every task's queue would be one for outside workers, or that of beat's ticks, which nobody then consumes."""
    ticks = accepted.get("service_queue", Settings().service_queue)
    if defaults.is_pull:
        problems.append(f"{PREFIX}queue_defaults.mode: 'pull' is said of single queues, in {PREFIX}queues")
    elif ticks in queues and queues[ticks].is_pull:
        problems.append(f"{PREFIX}queues[{ticks!r}].mode: beat's ticks go there (jobs_service_queue): not 'pull'")


def _check_addresses(accepted: Mapping[str, Any], problems: list[str]) -> None:
    given = [name for name in _POLICY if accepted.get(f"http_{name}")]
    if not given:
        return
    from celery_jobs.addresses import AddressPolicy  # whose tables take long to make, and most apps name no address

    for name in given:
        try:
            AddressPolicy(**{name: tuple(accepted[f"http_{name}"])})
        except ValueError as error:
            problems.append(f"{PREFIX}http_{name}: {error}")


def _queues(given: Any, defaults: QueueSettings, problems: list[str]) -> dict[str, QueueSettings]:
    if not isinstance(given, Mapping):
        problems.append(f"{PREFIX}queues: a dictionary of queue names is expected, not {given!r}")
        return {}
    return {str(n): _queue(v, defaults, f"{PREFIX}queues[{n!r}]", problems) for n, v in given.items()}


def _queue(given: Any, base: QueueSettings, where: str, problems: list[str]) -> QueueSettings:
    if isinstance(given, QueueSettings):
        given = {f.name: getattr(given, f.name) for f in fields(QueueSettings)}
    if not isinstance(given, Mapping):
        problems.append(f"{where}: a dictionary is expected, not {given!r}")
        return base
    merged = {f.name: getattr(base, f.name) for f in fields(QueueSettings)}
    before = len(problems)
    accepted = _queue_values(given, where, problems)
    if "retry_delays" in accepted:
        # A level that gives delays without max_attempts sets both; a list is exact.
        merged.update(max_attempts=None, jitter=False)
    merged.update(accepted)
    queue = QueueSettings(**merged)
    if len(problems) == before and queue.retries_enabled:
        _check_policy(queue, where, problems)
    return queue


def _queue_values(given: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    values = dict(given)
    accepted: dict[str, Any] = {}
    _unfold_policy(values, accepted, where, problems)
    if "assertions" in values:
        from celery_jobs.assertions import read_assertions

        accepted["assertions"], faults = read_assertions(values.pop("assertions"))
        problems.extend(f"{where}.assertions{'' if fault.startswith('[') else ': '}{fault}" for fault in faults)
    for name, value in values.items():
        if name not in _QUEUE_TYPES:
            problems.append(f"{where}: " + unknown(str(name), [*_QUEUE_TYPES, *_READ_APART]))
        else:
            _check(accepted, name, value, _QUEUE_TYPES[name], problems, f"{where}.")
    return accepted


def _unfold_policy(values: dict[str, Any], accepted: dict[str, Any], where: str, problems: list[str]) -> None:
    """Read the four ways to say a policy as the job's and the task's are read."""
    given = {name: values.pop(name) for name in ("retry_policy", "retry_delays", "max_retries") if name in values}
    if not given:
        return
    attempts = values.pop("max_attempts", None)
    try:
        level = parse_level(**given, max_attempts=attempts)
    except (TypeError, ValueError) as error:
        problems.append(f"{where}: {error}")
        return
    if level.delays is not None:
        accepted.update(retry_delays=level.delays, jitter=level.jitter)
    if level.max_attempts is not None:
        accepted["max_attempts"] = level.max_attempts


def _check_policy(queue: QueueSettings, where: str, problems: list[str]) -> None:
    try:
        resolve(queue.level)
    except ValueError as error:
        problems.append(f"{where}: {error}")


def _check(accepted: dict[str, Any], name: str, value: Any, rule: Rule, problems: list[str], prefix: str) -> None:
    if rule.accepts(value):
        accepted[name] = value
    else:
        but = "this" if name in _SECRET and isinstance(value, str) else repr(value)
        problems.append(f"{prefix}{name}: {rule.expected} is expected, not {but}")


def _read_secrets(given: Any) -> tuple[Any, list[str]]:
    from celery_jobs.signing import read_secrets

    return read_secrets(given)


def _read_keys(given: Any) -> tuple[Any, list[str]]:
    from celery_jobs.sealing import read_keys

    return read_keys(given)


_READERS = {"callback_secrets": _read_secrets, "encryption_keys": _read_keys, "alert_urls": read_destinations}
_TYPES = {field.name: RULES[str(field.type)] for field in fields(Settings) if field.type in RULES}
_TYPES["database_url"] = Rule(
    "an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name or sqlite:///file",
    lambda v: isinstance(v, str) and re.match(r"^[a-z0-9+]+:/", v) is not None,
)
_TYPES["alert_window"] = Rule(
    f"a number of seconds above 0, at most {LONGEST_ALERT_WINDOW:,}",
    lambda v: RULES["float"].accepts(v) and v <= LONGEST_ALERT_WINDOW,
)
_SECRET = ("database_url",)
_QUEUE_TYPES = {
    field.name: RULES[str(field.type)]
    for field in fields(QueueSettings)
    if field.name not in ("retry_delays", "assertions")
}
_READ_APART = ("assertions", "retry_delays", "retry_policy", "max_retries")
