"""Decodes the body of a request that came with ``Content-Encoding``, within bounds. Pure."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from sllm_actors.gateway import errors

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 64 * 2**10  # bytes that are decoded in one go
_MOST_MEMBERS = (
    1024  # a body may be several compressed files, one after the other, but not millions of empty ones
)
_ZSTD_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 23}  # 8 MiB: RFC 9659


class _Decompressor(Protocol):
    """Decompresses one member, as in ``bz2``, ``lzma`` and ``zstd``."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """The same for zlib."""

    def __init__(self, window: int) -> None:
        self._inflate = zlib.decompressobj(window)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        decoded = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self.needs_input = len(decoded) < max_length
        return decoded


def _zstd() -> _Decompressor:
    return zstd.ZstdDecompressor(options=_ZSTD_WINDOW)


def _gzip() -> _Decompressor:
    return _Inflater(zlib.MAX_WBITS | 16)


def _deflate() -> _Decompressor:
    return _Inflater(zlib.MAX_WBITS)


_CODINGS: Mapping[str, Callable[[], _Decompressor]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}

ACCEPTED = ("gzip", "deflate", "zstd")
"""The codings that bodies may have, as ``Accept-Encoding`` tells them to a client that sent another."""


class BodyDecoder:
    """Decodes one body, which comes in any pieces.

    Args:
        coding: The name of the coding, in lower case: one that ``coding_of`` returns.
        limit: How many bytes the decoded body may have.
    """

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._size = 0
        self._members = 0
        self._member: _Decompressor | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what they decode to.

        A few bytes may decode to as many as the limit allows: call this in a thread if that takes too long.

        Raises:
            ApiError: The decoded body is larger than the limit (413), or the data is not of the coding (400).
        """
        # In pieces, for the rest of a piece is copied with each member that ends in it.
        pieces = [self._decode(data[at : at + _PIECE]) for at in range(0, len(data), _PIECE)]
        return b"".join(pieces)

    def _decode(self, data: bytes) -> bytes:
        decoded: list[bytes] = []
        while data or not (self._member is None or self._member.needs_input):
            member = self._member or self._begin()
            try:
                piece = member.decompress(data, _PIECE)
            except (zlib.error, zstd.ZstdError):
                raise errors.not_decodable(self._coding) from None
            self._size += len(piece)
            if self._size > self._limit:
                raise errors.body_too_large(self._limit)
            decoded.append(piece)
            data = b""
            if member.eof:
                data, self._member = member.unused_data, None
        return b"".join(decoded)

    def end(self) -> None:
        """Take the end of the body.

        Raises:
            ApiError: The body was cut off (400).
        """
        if self._member is not None:
            raise errors.not_decodable(self._coding)

    def _begin(self) -> _Decompressor:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise errors.not_decodable(self._coding)
        self._member = _CODINGS[self._coding]()
        return self._member


def coding_of(content_encoding: bytes | None) -> str | None:
    """Return the coding that the header ``Content-Encoding`` names, or None if there is nothing to decode.

    Args:
        content_encoding: The value of the header, or None if there is none. Of a header that comes twice, the
            values with a comma between them.

    Raises:
        ApiError: It names another coding, or more than one (415).
    """
    if content_encoding is None:
        return None
    names = [each.strip().lower() for each in content_encoding.decode("latin-1").split(",")]
    codings = [each for each in names if each not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise errors.unsupported_coding(", ".join(codings), ACCEPTED)
    return codings[0]


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Return a whole body decoded; see ``BodyDecoder``.

    Raises:
        ApiError: The decoded body is larger than ``limit`` bytes (413), or the body is not of this coding, or
            cut off (400).
    """
    decoder = BodyDecoder(coding, limit)
    found = decoder.feed(body)
    decoder.end()
    return found
