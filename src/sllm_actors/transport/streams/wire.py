"""The frames of a tunnel lane. Each body begins with the number of the stream that it is about.

========  ====================================================================================
OPEN      a request in msgpack: opens a stream; the other side accepts or refuses it
ACCEPT    nothing: the stream has reached what its request names
REFUSE    a cause (1 byte) and a reason: nothing of the stream went anywhere, and it has ended
DATA      1 byte to ``PIECE`` bytes
CREDIT    a count (4 bytes) of bytes that may be sent anew; of stream 0: on all streams together
END       nothing: this side has no more bytes; the other direction goes on
RESET     a reason: the stream has ended, both ways; an empty reason is an orderly goodbye
========  ====================================================================================

Streams of the side that dialled the lane have odd numbers, those of the other side even ones. Numbers rise
and are never used again. Data may follow at once behind OPEN: what is refused is dropped at the far end.
"""

from __future__ import annotations

import struct
from typing import Final

from sllm_actors.transport.errors import NodeFull, RemoteProtocolError, TunnelRefused
from sllm_actors.transport.frame import (
    STREAM_ACCEPT,
    STREAM_CREDIT,
    STREAM_DATA,
    STREAM_END,
    STREAM_OPEN,
    STREAM_REFUSE,
    STREAM_RESET,
    Body,
)

OPEN: Final = STREAM_OPEN
ACCEPT: Final = STREAM_ACCEPT
REFUSE: Final = STREAM_REFUSE
DATA: Final = STREAM_DATA
CREDIT: Final = STREAM_CREDIT
END: Final = STREAM_END
RESET: Final = STREAM_RESET

PIECE: Final = 16 * 1024
"""Bytes that one DATA frame carries at most: then it is another stream's turn."""

STREAM_WINDOW: Final = 64 * 1024
"""Bytes of one stream that may be under way or unread. They are given back as they are read."""

LANE_WINDOW: Final = 256 * 1024
"""Bytes of all streams of a lane that may be under way. They are given back as they arrive, read or not."""

REQUEST_LIMIT: Final = 16 * 1024
"""Bytes of an encoded request."""

REASON_LIMIT: Final = 1024
"""Bytes of a reason."""

LANE: Final = 0
"""The number that stands for all streams of a lane together."""

NUMBER_SIZE: Final = 8

_HEAD: Final = struct.Struct("!IBQ")
_NUMBER: Final = struct.Struct("!Q")
_COUNT: Final = struct.Struct("!I")
_REFUSED: Final = 0
_NO_ROOM: Final = 1


def head(kind: int, number: int, size: int = 0) -> bytes:
    """Return the bytes of a frame that stand before ``size`` bytes of content."""
    return _HEAD.pack(NUMBER_SIZE + size, kind, number)


def frame(kind: int, number: int, content: bytes = b"") -> bytes:
    """Return a whole frame."""
    return _HEAD.pack(NUMBER_SIZE + len(content), kind, number) + content


def credit(number: int, count: int) -> bytes:
    """Return the frame that gives back so many bytes, of one stream or of the ``LANE``."""
    return frame(CREDIT, number, _COUNT.pack(count))


def reset(number: int, reason: str) -> bytes:
    """Return the frame that ends a stream both ways."""
    return frame(RESET, number, reason.encode()[:REASON_LIMIT])


def refusal(number: int, error: TunnelRefused) -> bytes:
    """Return the frame that refuses a stream."""
    cause = _NO_ROOM if isinstance(error, NodeFull) else _REFUSED
    return frame(REFUSE, number, bytes([cause]) + error.reason.encode()[:REASON_LIMIT])


def number_of(body: Body) -> int:
    """Return the number of the stream that a frame is about.

    Raises:
        RemoteProtocolError: The body is too short.
    """
    if len(body) < NUMBER_SIZE:
        raise RemoteProtocolError("a frame of a stream is too short")
    number: int = _NUMBER.unpack_from(body)[0]
    return number


def count_of(body: Body) -> int:
    """Return how many bytes a CREDIT gives back.

    Raises:
        RemoteProtocolError: It has no count.
    """
    if len(body) < NUMBER_SIZE + _COUNT.size:
        raise RemoteProtocolError("a credit has no count")
    count: int = _COUNT.unpack_from(body, NUMBER_SIZE)[0]
    return count


def reason_of(body: Body) -> str:
    """Return the reason of a RESET; anything that is no text is replaced, and anything too long is cut."""
    return bytes(body[NUMBER_SIZE : NUMBER_SIZE + REASON_LIMIT]).decode("utf-8", "replace")


def refusal_of(body: Body) -> TunnelRefused:
    """Return the error that a REFUSE stands for."""
    content = bytes(body[NUMBER_SIZE : NUMBER_SIZE + 1 + REASON_LIMIT])
    error = NodeFull if content[:1] == bytes([_NO_ROOM]) else TunnelRefused
    return error(content[1:].decode("utf-8", "replace"))
