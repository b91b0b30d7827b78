"""Signatures of what is sent to other people's servers, as Standard Webhooks 1.0 has them (semantics.md section 8).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import TYPE_CHECKING, Any, Protocol

from celery_jobs.errors import InvalidSignature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Headers", "Secret", "read_secrets", "sign", "verify_callback"]

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a key, by the specification."""

TOLERANCE = 300.0
"""Seconds that a signature is good for, before and after its time."""

MAKE_ONE = (
    'Make one: python -c "import base64, secrets; '
    "print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
)


class Headers(Protocol):
    """The headers of a request, as any framework has them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values."""


class Secret:
    """A key that signs, read from `whsec_` and base64; it shows itself nowhere.

    Raises ValueError, without the text, for what is no such key of 24 to 64 bytes. `strict`: `whsec_` must be there.
    """

    __slots__ = ("_key",)

    def __init__(self, text: str | bytes, strict: bool = False) -> None:
        self._key = text if isinstance(text, bytes) else _decoded(text, strict)
        if not SHORTEST <= len(self._key) <= LONGEST:
            raise ValueError(f"a secret has {SHORTEST} to {LONGEST} bytes, not {len(self._key)}. {MAKE_ONE}")

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def signature(self, id: str, timestamp: int, body: bytes) -> str:
        """The signature of one message: `v1,` and base64."""
        signed = _bytes(f"{id}.{timestamp}.") + body
        return "v1," + base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()


def _decoded(text: str, strict: bool) -> bytes:
    encoded = text.removeprefix(PREFIX)
    try:
        if strict and encoded == text:
            raise ValueError
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError(f"a secret is whsec_ and base64. {MAKE_ONE}") from None


def read_secrets(given: Any) -> tuple[tuple[Secret, ...], list[str]]:
    """The secrets of a setting, and what is wrong with it; no fault shows one."""
    if not isinstance(given, list | tuple):
        return (), [f"a list of secrets is expected, not a {type(given).__name__}"]
    found: list[Secret] = []
    faults: list[str] = []
    for number, text in enumerate(given, 1):
        try:
            found.append(text if isinstance(text, Secret) else Secret(str(text), strict=True))
        except ValueError as error:
            faults.append(f"number {number}: {error}")
    return tuple(found), faults


def _bytes(text: str) -> bytes:
    """Of any text: what no signature can be of is to fail as a wrong one does."""
    return text.encode("utf-8", "surrogatepass")


def sign(id: str, timestamp: int, body: bytes, secrets: Sequence[Secret]) -> dict[str, str]:
    """The headers of a message: its id, seconds since 1970 and, where there are secrets, a signature by each."""
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    if secrets:
        headers["webhook-signature"] = " ".join(secret.signature(id, timestamp, body) for secret in secrets)
    return headers


def verify_callback(
    headers: Headers,
    body: bytes | str,
    secret: str | bytes | Sequence[str | bytes],
    tolerance: float = TOLERANCE,
    *,
    now: float | None = None,
) -> Any:
    """Check who sent a callback, and give its body, decoded from JSON (semantics.md section 8).

    `headers`: those of the request, in any case; `body`: exactly as it came; `secret`: one, or several while they
    rotate; `tolerance`: seconds that it may be old or early; `now`: seconds since 1970, for tests. Raises
    InvalidSignature for what must not be believed, ValueError for a secret that is none.
    """
    secrets = [Secret(text) for text in ([secret] if isinstance(secret, str | bytes) else secret)]
    if not secrets:
        raise ValueError(f"no secret is given to verify with. {MAKE_ONE}")
    raw = _bytes(body) if isinstance(body, str) else bytes(body)
    id, timestamp, signatures = _read(headers)
    age = (time.time() if now is None else now) - timestamp
    if abs(age) > tolerance:
        raise InvalidSignature(f"webhook-timestamp is {abs(age):.0f} s {'old' if age > 0 else 'early'}")
    expected = [_bytes(secret.signature(id, timestamp, raw)) for secret in secrets]
    # Each is compared with each, so that the time it takes tells nothing.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures]
    if not any(matches):
        raise InvalidSignature("no signature in webhook-signature is by this secret, of this body, id and timestamp")
    try:
        return json.loads(raw)
    except ValueError:
        raise InvalidSignature("the body is signed, and is no JSON") from None


_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _read(headers: Headers) -> tuple[str, int, list[bytes]]:
    """Id, timestamp and signatures; a header that came twice may be either."""
    found = {name: str(value) for given, value in headers.items() if (name := str(given).lower()) in _NAMES}
    missing = [name for name in _NAMES if not found.get(name)]
    if missing:
        raise InvalidSignature(f"no header {' and no header '.join(missing)}")
    id, timestamp, signatures = (found[name] for name in _NAMES)
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise InvalidSignature("webhook-timestamp is no whole number of seconds since 1970")
    return id, int(timestamp), [_bytes(signature) for signature in signatures.split()]
