"""Sealing what jobs hold: arguments, results and answers are kept encrypted (Fernet), each with the id of its key.

What is sealed is `cj1 <digest> <key id> <token>`. The digest (HMAC-SHA256) has a key of its own: who has no key can see
whether two contents are equal, and no more. A sealed message goes through the broker as it is kept.
https://github.com/fernet/spec/blob/master/Spec.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery_jobs.errors import JobsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Celery

__all__ = ["CONTENT_TYPE", "DIGEST_END", "PREFIX", "Key", "Sealer", "Unsealable", "differ", "read_keys", "teach"]

CONTENT_TYPE = "application/x-celery-jobs-sealed"
"""Of a message that is sealed; the one inside is sealed with it."""

PREFIX = b"cj1 "
DIGEST_END = 68
"""Where the digest ends; equal contents, sealed with one key, are equal up to there."""

PLAIN = "plain"
"""The first of the keys where nothing is sealed yet, or any more, and what is sealed is opened."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
MAKE_ONE = 'Make one: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'


class Unsealable(JobsError):
    """What is sealed cannot be opened here: its key is not among `jobs_encryption_keys`, or it was changed."""


class Key:
    """A key with a name, read from `2026-11:` and 32 bytes in URL-safe base64; it shows itself nowhere.

    Raises ValueError, without the text, for what is none.
    """

    __slots__ = ("_digest_key", "_fernet", "id")

    def __init__(self, text: str) -> None:
        self.id, _, encoded = text.partition(":")
        if text != PLAIN:
            self._read(encoded)

    def _read(self, encoded: str) -> None:
        import base64  # here as below: most apps have no keys, and each import is paid for at every start
        import hashlib

        try:
            from cryptography.fernet import Fernet
        except ImportError:
            raise ValueError("the package cryptography is needed: pip install 'celery-jobs[encryption]'") from None
        try:
            raw = base64.urlsafe_b64decode(encoded)
            self._fernet = Fernet(encoded)
        except ValueError:
            raw = b""
        if not _ID.fullmatch(self.id) or not raw:
            raise ValueError(f"a name, a colon and 32 bytes in URL-safe base64 are expected. {MAKE_ONE}")
        self._digest_key = hashlib.sha256(b"celery-jobs digest" + raw).digest()

    def __repr__(self) -> str:
        return f"Key({self.id!r}, ***)"

    def seal(self, data: bytes) -> bytes:
        """Encrypt."""
        import hashlib
        import hmac

        digest = hmac.new(self._digest_key, data, hashlib.sha256).hexdigest()
        return PREFIX + f"{digest} {self.id} ".encode() + self._fernet.encrypt(data)

    def open(self, token: bytes) -> bytes:
        """Decrypt; raises Unsealable."""
        from cryptography.fernet import InvalidToken

        try:
            return bytes(self._fernet.decrypt(token))
        except InvalidToken:
            raise Unsealable(f"it is not what was sealed with the key {self.id!r}") from None


def read_keys(given: Any) -> tuple[tuple[Key, ...], list[str]]:
    """The keys of a setting, and what is wrong with it; no fault shows one."""
    if not isinstance(given, list | tuple):
        return (), [f"a list of keys is expected, not a {type(given).__name__}"]
    found: list[Key] = []
    faults: list[str] = []
    for number, text in enumerate(given, 1):
        try:
            key = text if isinstance(text, Key) else Key(str(text))
            if key.id in [other.id for other in found] or (key.id == PLAIN and number > 1):
                raise ValueError(f"a name of its own is expected, not {key.id!r}")
            found.append(key)
        except ValueError as error:
            faults.append(f"number {number}: {error}")
    return tuple(found), faults


class Sealer:
    """Seals with the first of some keys, and opens with any."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.seals = bool(keys) and keys[0].id != PLAIN
        """Whether what is new is sealed."""
        self._first = keys[0]
        self._keys = {key.id: key for key in keys if key.id != PLAIN}

    def seal(self, data: bytes) -> bytes:
        """Seal, where what is new is sealed."""
        return self._first.seal(data) if self.seals else data

    def open(self, sealed: bytes) -> bytes:
        """What is sealed, or what is not sealed as it is; raises Unsealable."""
        parts = _parts(sealed)
        if parts is None:
            return sealed
        _, key_id, token = parts
        if key_id not in self._keys:
            raise Unsealable(f"it is sealed with the key {key_id!r}, which is not among jobs_encryption_keys")
        return self._keys[key_id].open(token)

    def seal_json(self, text: str | None) -> str | None:
        """A JSON text, sealed where what is new is sealed; it is JSON then too."""
        return f'"{self.seal(text.encode()).decode()}"' if text is not None and self.seals else text

    def open_json(self, text: str) -> str:
        """The JSON text that was sealed, or the text as it is; raises Unsealable."""
        return self.open(text[1:-1].encode()).decode() if text.startswith('"cj1 ') else text

    def seal_body(self, content_type: str, content_encoding: str, body: bytes) -> tuple[str, str, bytes]:
        """Content type, encoding and bytes of a message, sealed where what is new is sealed."""
        if not self.seals:
            return content_type, content_encoding, body
        return CONTENT_TYPE, "binary", self._first.seal(f"{content_type}\n{content_encoding}\n".encode() + body)

    def open_body(self, content_type: str, content_encoding: str, body: bytes) -> tuple[str, str, bytes]:
        """The same of what was sealed; what was not is given as it is. Raises Unsealable."""
        if content_type != CONTENT_TYPE:
            return content_type, content_encoding, bytes(body)
        inner_type, inner_encoding, data = self.open(bytes(body)).split(b"\n", 2)
        return inner_type.decode(), inner_encoding.decode(), data


def _parts(data: bytes) -> tuple[bytes, str, bytes] | None:
    """Digest, key and token of what is sealed."""
    if data[: len(PREFIX)] != PREFIX or data.count(b" ") != 3:
        return None
    _, digest, key_id, token = data.split(b" ")
    return digest, key_id.decode("ascii", "replace"), token


def differ(stored: bytes, given: bytes) -> bool:
    """Whether two bodies are known to differ; of what was erased, or sealed with another key, nobody knows."""
    if not stored or stored == given:
        return False
    one, other = _parts(stored), _parts(given)
    if one is None and other is None:
        return True
    return one is not None and other is not None and one[1] == other[1] and one[0] != other[0]


_sealers: WeakKeyDictionary[Any, Sealer] = WeakKeyDictionary()


def teach(app: Celery, sealer: Sealer) -> None:
    """Make kombu read sealed messages in this process, and the app accept them: inside, what it accepts itself."""
    from kombu.serialization import registry

    _sealers[app] = sealer
    registry.register("celery-jobs-sealed", _cannot, _decode, CONTENT_TYPE, "binary")
    accepted = list(app.conf.accept_content or ())
    if CONTENT_TYPE not in accepted:
        app.conf.accept_content = [*accepted, CONTENT_TYPE]


def _cannot(body: Any) -> bytes:
    raise ValueError("no serializer: jobs are sealed by jobs_encryption_keys")


def _decode(data: bytes) -> Any:
    from kombu.serialization import loads, prepare_accept_content

    problem = Unsealable("no app of this process has jobs_encryption_keys")
    for app, sealer in list(_sealers.items()):
        try:
            content_type, content_encoding, body = sealer.open_body(CONTENT_TYPE, "binary", data)
        except Unsealable as error:
            problem = error
        else:
            return loads(body, content_type, content_encoding, accept=prepare_accept_content(app.conf.accept_content))
    raise problem
