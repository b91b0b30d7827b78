"""A worker that ends an attempt rings for its messenger, which sees whether a callback is due.

Where it may have failed it rings for the announcer too.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ringing"]

Method = TypeVar("Method", bound="Callable[..., Any]")


def ringing(method: Method) -> Method:
    """A method of a request that may end an attempt, and rings when it has."""

    may_be_dead = method.__name__ != "on_success"

    @functools.wraps(method)
    def rings(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        finally:
            if self._is_job and self._plugin.messenger is not None:
                self._plugin.messenger.ring()
            if self._is_job and may_be_dead and self._plugin.announcer is not None:
                self._plugin.announcer.ring()

    return rings  # type: ignore[return-value]
