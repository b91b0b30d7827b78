"""The calls that are to follow a call: the rest of its chain, its links, errbacks and chord."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from celery.utils.functional import maybe_list

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["following_calls", "name_links"]

_FOLLOWING = ("chain", "link", "link_error", "chord")


def following_calls(options: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The signature of each call that follows one with these options, and whether it is handed a result."""
    for name in _FOLLOWING:
        for signature in maybe_list(options.get(name)) or ():
            yield from _calls(signature, handed=True)


def _calls(signature: Any, handed: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    if not isinstance(signature, Mapping):
        return
    handed = handed and not signature.get("immutable")
    inside, kind = signature.get("kwargs") or {}, signature.get("subtask_type")
    if kind == "chain":
        for place, step in enumerate(inside.get("tasks") or ()):
            yield from _calls(step, handed or place > 0)
    elif kind == "group":
        for task in inside.get("tasks") or ():
            yield from _calls(task, handed)
    elif kind == "chord":
        for task in maybe_list(inside.get("header")) or ():
            yield from _calls(task, handed)
        yield from _calls(inside.get("body"), handed=True)
    else:
        yield signature, handed
    yield from following_calls(signature.get("options") or {})


def name_links(request: Any, original_id: str) -> None:
    """Give each link to a task of a running request the id that it has in every run of this chain.

    A step of a chain has one from the beginning; a link would be another job each time that it is published.
    """
    links = enumerate(request.callbacks or ())
    request.callbacks = [_named(link, str(uuid5(UUID(original_id), f"link {place}"))) for place, link in links]


def _named(link: Any, task_id: str) -> Any:
    if not isinstance(link, Mapping) or link.get("subtask_type") is not None:
        return link
    return {**link, "options": {"task_id": task_id, **(link.get("options") or {})}}
