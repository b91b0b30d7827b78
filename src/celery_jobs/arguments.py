"""The arguments of a stored job, for reading: as the call was written, secrets masked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from celery.utils.saferepr import saferepr

from celery_jobs.envelope import decode_body
from celery_jobs.errors import InvalidJob
from celery_jobs.payload import read_payload
from celery_jobs.redaction import MASK, redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery_jobs.plugin import Plugin
    from celery_jobs.store.rows import Message

__all__ = ["Arguments", "mask_call", "mask_reprs", "read_arguments", "reprs_of", "require_fit", "signature_of"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a task was called with; `unreadable` says why it cannot be read here, where that is so."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    unreadable: str | None = None

    def __str__(self) -> str:
        """The call as a person would write it: `(1, 2, key='x')`."""
        if self.unreadable is not None:
            return f"<{self.unreadable}>"
        named = (f"{name}={value!r}" for name, value in self.kwargs.items())
        return f"({', '.join([*map(repr, self.args), *named])})"

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {"args": _plain(self.args), "kwargs": _plain(self.kwargs), "unreadable": self.unreadable}


def _plain(value: Any) -> Any:
    """The same as JSON has it: Celery's serializers also know moments, decimals and, with pickle, anything."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value) if isinstance(value, float | Decimal | UUID) else repr(value)


def read_arguments(plugin: Plugin, task: str | None, message: Message) -> Arguments:
    """The arguments of a message, what `jobs_redact` names masked, positional parameters of a known task too."""
    try:
        args, kwargs, _ = _call(plugin, task, message)
    except Exception as error:
        size = len(message.body)
        return Arguments(unreadable=f"{size:,} bytes of {message.content_type} that cannot be read here: {error}")
    return mask_call(plugin, task, args, kwargs)


def _call(plugin: Plugin, task: str | None, message: Message) -> tuple[Sequence[Any], dict[str, Any], object]:
    if task is None:
        return (read_payload(message.content_type, message.body, plugin.sealer),), {}, None
    return decode_body(plugin, message)


def mask_call(plugin: Plugin, task: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
    """A call with what `jobs_redact` names masked."""
    names = plugin.settings.redacted
    if not names:
        return Arguments(tuple(args), dict(kwargs))
    places = _places(plugin, task)
    secret = {place for place, name in enumerate(places) if name.lower() in names}
    shown = (MASK if place in secret else redact(value, names) for place, value in enumerate(args))
    return Arguments(tuple(shown), redact(kwargs, names))


def mask_reprs(plugin: Plugin, task: str, headers: dict[str, Any], body: Any) -> dict[str, Any]:
    """The headers of a message with the texts masked that Celery's events, logs and Flower show of its arguments."""
    names = plugin.settings.redacted
    if not isinstance(body, tuple | list) or "argsrepr" not in headers:
        return headers
    if plugin.sealer is not None and plugin.sealer.seals:
        return {**headers, "argsrepr": MASK, "kwargsrepr": MASK}
    if not names:
        return headers
    shown = mask_call(plugin, task, body[0], body[1])
    reprs = {"argsrepr": (body[0], shown.args), "kwargsrepr": (body[1], shown.kwargs)}
    return {**headers, **{name: _repr(plugin, name, headers[name], *values) for name, values in reprs.items()}}


def reprs_of(plugin: Plugin, task: str) -> Callable[[tuple[Any, ...], dict[str, Any]], tuple[str, str]]:
    """What makes the same two texts of a task's calls, as Celery makes them of what is shown of each."""
    amqp, levels = plugin.app.amqp, plugin.app.conf.task_repr_maxlevels
    if plugin.sealer is not None and plugin.sealer.seals:
        return lambda args, kwargs: (MASK, MASK)

    def make(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
        shown = mask_call(plugin, task, args, kwargs)
        return (
            _text(shown.args, amqp.argsrepr_maxsize, levels),
            _text(shown.kwargs, amqp.kwargsrepr_maxsize, levels),
        )

    return make


def _text(value: Any, size: int, levels: int) -> str:
    """Celery's safe repr, which takes long, also for what is short and plain."""
    if type(value) is tuple and all(type(item) in _PLAIN for item in value):
        text = repr(value)
        if len(text) < size:
            return text
    return "{}" if value == {} else str(saferepr(value, size, maxlevels=levels))


_PLAIN = (int, bool, type(None))


def _repr(plugin: Plugin, name: str, given: Any, value: Any, shown: Any) -> str:
    """The text that Celery would make of what is shown; a text of the caller's own is masked as any text."""
    size, levels = getattr(plugin.app.amqp, f"{name}_maxsize"), plugin.app.conf.task_repr_maxlevels
    if given == saferepr(value, size, maxlevels=levels):
        return str(saferepr(shown, size, maxlevels=levels))
    return redact_text(str(given), plugin.settings.redacted)


def _places(plugin: Plugin, task: str | None) -> list[str]:
    """Names of a task's positional parameters, where it is known here."""
    known = plugin.app.tasks.get(task)
    if known is None:
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in signature_of(known).parameters.values() if parameter.kind in kinds]


def signature_of(task: Any) -> inspect.Signature:
    """What a task takes, found out once: that takes longer than most of what is done with it."""
    if task not in _signatures:
        _signatures[task] = inspect.signature(task.run)
    return _signatures[task]


_signatures: WeakKeyDictionary[Any, inspect.Signature] = WeakKeyDictionary()


def require_fit(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidJob for arguments that a task does not take, where it lets Celery check them."""
    if task.typing:
        try:
            task.__header__(*args, **kwargs)
        except TypeError as error:
            raise InvalidJob("args", str(error)) from error
