"""Whether code of Celery's or kombu's is as it was: what stands in for a method may look at each call."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

__all__ = ["is_own"]


def is_own(method: Any, *modules: Any) -> bool:
    """Whether a method is the modules' own: what stands in for it may have its name, its looks, even its code."""
    if type(method) not in (FunctionType, MethodType):
        return False
    return method.__code__.co_filename in {module.__file__ for module in modules}
