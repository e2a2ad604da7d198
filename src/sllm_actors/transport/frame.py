"""Frames: ``length (4 bytes, big endian) | kind (1 byte) | body``. A sans-IO decoder and an encoder.

The decoder gives the same frames for the same bytes in any split, and never keeps more than one frame of
the allowed length, whatever a length field says: a lying length is an error as soon as it is read, not an
allocation. After an error it stays failed. Kinds from ``IGNORABLE`` on may be added by later versions and
are skipped by those that do not know them; any other unknown kind is the lane's to refuse.
"""

from __future__ import annotations

import struct
from typing import Final

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
# Tunnel lane, before the raw bytes.
TUNNEL_REQUEST: Final = 32
TUNNEL_ACCEPTED: Final = 33
TUNNEL_REFUSED: Final = 34

IGNORABLE: Final = 128

Frame = tuple[int, bytes]


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

    Attributes:
        failure: Set once the peer has broken the protocol; from then on nothing more is decoded.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.failure: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished frame are kept."""
        return len(self._buffer)

    def take_rest(self) -> bytes:
        """Give up the bytes that follow the last whole frame (where another protocol begins)."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def receive(self, data: bytes, *, at_most: int = 1 << 30) -> list[Frame]:
        """Return the whole frames that ``data`` completes, in order; look at ``failure`` afterwards.

        Args:
            at_most: Stop after so many frames and keep the rest unread.
        """
        frames: list[Frame] = []
        if self.failure is not None:
            return frames
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        at, end = 0, len(source)
        while end - at >= HEADER_SIZE and len(frames) < at_most:
            length, kind = HEADER.unpack_from(source, at)
            if length > self._limit:
                self.failure = RemoteProtocolError(
                    f"a frame claims {length} bytes, {self._limit} are allowed"
                )
                self._buffer.clear()
                return frames
            stop = at + HEADER_SIZE + length
            if stop > end:
                break
            frames.append((kind, bytes(source[at + HEADER_SIZE : stop])))
            at = stop
        if source is self._buffer:
            del self._buffer[:at]
        else:
            self._buffer += source[at:]
        return frames
