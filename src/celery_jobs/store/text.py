"""Text as every database takes it: no NUL, no lone surrogates, no longer than allowed."""

from __future__ import annotations

import json
import math
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_jobs.sealing import Sealer

__all__ = ["clean", "error_message", "error_traceback", "error_type", "result_text"]

MAX_MESSAGE_BYTES = 8_192
MAX_NAME_BYTES = 1_024


def clean(text: str, limit: int | None = None) -> str:
    """Replace what no database takes by U+FFFD, and cut to `limit` bytes of UTF-8 with a mark."""
    encoded = text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass")
    if limit is None or len(encoded) <= limit:
        return encoded.decode("utf-8", "replace")
    mark = f" … [cut, {len(encoded):,} bytes in all]"
    kept = max(0, limit - len(mark.encode()))
    return encoded[:kept].decode("utf-8", "ignore") + mark


def result_text(result: Any, limit: int, sealer: Sealer | None = None) -> str | None:
    """A task's return value as JSON; what JSON cannot say is kept by its repr, what is too long is cut. Sealed last."""
    if result is None:
        return None
    try:
        text = _json(result)
    except Exception:
        text = json.dumps(_safe_repr(result))
    if len(text) > limit:
        text = json.dumps(clean(text, limit // 2), ensure_ascii=False)
    text = clean(text)
    return text if sealer is None else sealer.seal_json(text)


def _json(result: Any) -> str:
    try:
        return json.dumps(result, default=_safe_repr, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(result), default=_safe_repr, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with NaN and the infinities, which JSON has not, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {_finite(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def error_type(error: BaseException) -> str:
    """The exception's class as a person writes it: `ValueError`, `shop.errors.CardDeclined`."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return clean(name, MAX_NAME_BYTES)


def error_message(error: BaseException) -> str:
    """What the exception says, even where saying it fails."""
    try:
        text = str(error)
    except Exception as failure:
        text = f"<str of {type(error).__name__} raised {type(failure).__name__}>"
    return clean(text, MAX_MESSAGE_BYTES)


def error_traceback(error: BaseException, limit: int) -> str | None:
    """The exception's traceback, its end kept where it is longer than `limit` bytes."""
    if error.__traceback__ is None:
        return None
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as failure:
        text = f"<traceback cannot be shown: {type(failure).__name__}>"
    encoded = clean(text).encode()
    if len(encoded) <= limit:
        return encoded.decode()
    mark = f"[cut, {len(encoded):,} bytes in all] …\n"
    return mark + encoded[len(encoded) - limit + len(mark.encode()) :].decode("utf-8", "ignore")


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as failure:
        return f"<repr of {type(value).__name__} raised {type(failure).__name__}>"
