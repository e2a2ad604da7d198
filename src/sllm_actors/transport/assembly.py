"""Puts the parts of long messages together again, under a bound, whatever their announced lengths say."""

from __future__ import annotations

from attrs import define

from .errors import RemoteProtocolError
from .frame import FAILURE, TELL, Body, Frame
from .outbox import FIRST, LAST, PART_FIRST, PART_HEAD
from .settings import PARTIAL_MESSAGES


@define
class _Partial:
    kind: int
    length: int
    buffer: bytearray
    size: int = 0

    def add(self, piece: memoryview) -> None:
        end = self.size + len(piece)
        self.buffer[self.size : end] = piece
        self.size = end


class Assembler:
    """The receive side of parts: memory grows with what has arrived, never with what is announced.

    The buffer of the last message is kept for the next one: fresh memory costs more than the copy into it.

    Args:
        max_message: The longest message, in bytes.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._partial: dict[int, _Partial] = {}
        self._spare = bytearray()

    def receive(self, part: Body) -> Frame | None:
        """Copy the body of a part; return the whole message when this was its last.

        The message is a view: it is to be read before the next call.

        Raises:
            RemoteProtocolError: The part fits no message, or breaks a bound.
        """
        if len(part) < PART_HEAD.size:
            raise RemoteProtocolError("a part is too short")
        stream, flags = PART_HEAD.unpack_from(part)
        at = PART_HEAD.size
        if flags & FIRST:
            self._open(stream, part)
            at += PART_FIRST.size
        partial = self._partial.get(stream)
        if partial is None:
            raise RemoteProtocolError("a part belongs to no message")
        size = partial.size + len(part) - at
        if size > partial.length or (flags & LAST and size < partial.length):
            raise RemoteProtocolError("the parts of a message do not add up")
        partial.add(memoryview(part)[at:])
        if not flags & LAST:
            return None
        del self._partial[stream]
        self._spare = partial.buffer
        return partial.kind, memoryview(partial.buffer)[: partial.length].toreadonly()

    def _open(self, stream: int, part: Body) -> None:
        if len(part) < PART_HEAD.size + PART_FIRST.size or stream in self._partial:
            raise RemoteProtocolError("a message's first part is wrong")
        if len(self._partial) >= PARTIAL_MESSAGES:
            raise RemoteProtocolError("too many messages are open")
        kind, length = PART_FIRST.unpack_from(part, PART_HEAD.size)
        if length > self._max_message or not TELL <= kind <= FAILURE:
            raise RemoteProtocolError(f"a message claims {length} bytes, {self._max_message} are allowed")
        buffer, self._spare = self._spare, bytearray()
        self._partial[stream] = _Partial(kind, length, buffer)
