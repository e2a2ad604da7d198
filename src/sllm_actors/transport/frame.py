"""Frames: ``length (4 bytes, big endian) | kind (1 byte) | body``. A sans-IO decoder and an encoder.

The decoder gives the same frames for the same bytes in any split, and never keeps more than one frame of
the allowed length, whatever a length field says: a lying length is an error as soon as it is read, not an
allocation. After an error it stays failed. Kinds from ``IGNORABLE`` on may be added by later versions and
are skipped by those that do not know them; any other unknown kind is the lane's to refuse.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from .errors import RemoteProtocolError
from .settings import CHUNK

HEADER: Final = struct.Struct("!IB")
HEADER_SIZE: Final = HEADER.size
LIMIT: Final = CHUNK + 64
"""The longest body of any frame: one chunk and what stands in front of it."""

# Data lane.
TELL: Final = 1
ASK: Final = 2
REPLY: Final = 3
FAILURE: Final = 4
PART: Final = 5
WINDOW: Final = 6
# Control lane.
HEARTBEAT: Final = 16
ACK: Final = 17
SEQUENCED: Final = 18
GOODBYE: Final = 19
# Tunnel lane, see ``streams.wire``.
STREAM_OPEN: Final = 32
STREAM_ACCEPT: Final = 33
STREAM_REFUSE: Final = 34
STREAM_DATA: Final = 35
STREAM_CREDIT: Final = 36
STREAM_END: Final = 37
STREAM_RESET: Final = 38

IGNORABLE: Final = 128
"""The lowest of the kinds that a receiver skips if it does not know them."""

LARGE: Final = 4096
"""Bodies longer than this are not copied out of what was received."""

Body: TypeAlias = bytes | memoryview
Frame: TypeAlias = tuple[int, Body]
"""The kind and the body of a frame."""


def encode(kind: int, body: bytes) -> bytes:
    """Return the bytes of one frame.

    Raises:
        ValueError: The body is longer than ``LIMIT``.
    """
    if len(body) > LIMIT:
        raise ValueError(f"a frame of {len(body)} bytes is longer than {LIMIT}")
    return HEADER.pack(len(body), kind) + body


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    Args:
        limit: The longest body that is allowed, in bytes.

    Attributes:
        failure: Set once the peer has broken the protocol; from then on nothing more is decoded.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._begun = bytearray()
        self.failure: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished frame are kept."""
        return len(self._begun)

    def receive(self, data: Body) -> list[Frame]:
        """Return the whole frames that ``data`` completes, in order; look at ``failure`` afterwards.

        A body of more than ``LARGE`` bytes may be a view of ``data``: whoever keeps it must copy it before
        what is behind ``data`` changes.
        """
        frames: list[Frame] = []
        if len(data) <= LARGE:
            data = bytes(data)
        at = self._finish(data, frames) if self._begun else 0
        end = len(data)
        while end - at >= HEADER_SIZE and self.failure is None:
            length, kind = HEADER.unpack_from(data, at)
            stop = at + HEADER_SIZE + length
            if self._is_lie(length) or stop > end:
                break
            frames.append((kind, _body(data, at + HEADER_SIZE, stop)))
            at = stop
        if self.failure is None:
            self._begun += data[at:] if end - at <= LARGE else memoryview(data)[at:]
        return frames

    def _finish(self, data: Body, frames: list[Frame]) -> int:
        """Put what is missing behind the frame that has begun; return how much of ``data`` that took."""
        at, missing = 0, self._missing()
        while missing and at < len(data):
            self._begun += data[at : at + missing]
            at = min(at + missing, len(data))
            missing = self._missing()
        if not missing and self.failure is None:
            frames.append((self._begun[HEADER_SIZE - 1], _body(self._begun, HEADER_SIZE, len(self._begun))))
            self._begun = bytearray()
        return at

    def _missing(self) -> int:
        """Return how many bytes the frame that has begun lacks: of its header, or else of its body."""
        begun = len(self._begun)
        if begun < HEADER_SIZE:
            return HEADER_SIZE - begun
        length, _ = HEADER.unpack_from(self._begun)
        return 0 if self._is_lie(length) else HEADER_SIZE + length - begun

    def _is_lie(self, length: int) -> bool:
        if length > self._limit:
            self.failure = RemoteProtocolError(f"a frame claims {length} bytes, {self._limit} are allowed")
            self._begun = bytearray()
            return True
        return False


def _body(source: Body | bytearray, at: int, stop: int) -> Body:
    return bytes(source[at:stop]) if stop - at <= LARGE else memoryview(source)[at:stop]
