"""A body of which no more is kept, nor unpacked, than was asked for: a gzip bomb is cut like any other."""

from __future__ import annotations

import zlib

import httpx

__all__ = ["BoundedBody"]

_ANY_HEADER = zlib.MAX_WBITS | 32
_SLACK = 1024
"""Bytes by which compression may lengthen a body that cannot be compressed."""


class BoundedBody:
    """The beginning of a body, at most `most` bytes, unpacked if it is gzip or deflate."""

    def __init__(self, encoding: str, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._came = 0
        self._packed = encoding.strip().lower() in ("gzip", "x-gzip", "deflate")
        self._unpacker = zlib.decompressobj(_ANY_HEADER)

    def add(self, chunk: bytes) -> None:
        """Take what has arrived; raises httpx.DecodingError when it is not packed as its header says."""
        self._came += len(chunk)
        if not self._packed:
            self._kept += chunk[: self._room()]
            return
        try:
            self._unpack(chunk)
        except zlib.error as error:
            raise httpx.DecodingError(f"the body is not compressed as its header says: {error}") from None

    def _unpack(self, chunk: bytes) -> None:
        while chunk and not self.truncated:
            if self._unpacker.eof:
                self._unpacker = zlib.decompressobj(_ANY_HEADER)
            self._kept += self._unpacker.decompress(chunk, self._room())
            chunk = self._unpacker.unconsumed_tail or self._unpacker.unused_data

    def _room(self) -> int:
        """One byte more than is given out, to tell whether there is more."""
        return self._most + 1 - len(self._kept)

    @property
    def truncated(self) -> bool:
        """Whether there is more than is kept, so that reading on is useless."""
        return len(self._kept) > self._most or self._came > self._most + _SLACK

    @property
    def kept(self) -> bytes:
        """The beginning."""
        return bytes(self._kept[: self._most])
