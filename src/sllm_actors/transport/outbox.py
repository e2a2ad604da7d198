"""What waits to be written on a data lane, and whose turn it is.

A window bounds the bytes that are written and not yet consumed at the other end, so that a bulk message never
fills the pipe in front of a small one; a second one bounds what a single receiver may have of it, so that the
others always find room for a chunk. A message longer than a chunk is cut into parts; receivers take turns
chunk by chunk, and the messages of one receiver stay in order. Without I/O; credits are conserved: bytes
taken = bytes acknowledged + bytes in flight.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Hashable
from typing import Any, Final

from attrs import define, field

from .errors import RemoteProtocolError
from .frame import HEADER, HEADER_SIZE, PART, Body
from .settings import CHUNK, PARTIAL_MESSAGES, TransportSettings

PART_HEAD: Final = struct.Struct("!IB")
"""Stream number and flags, in front of each part."""
PART_FIRST: Final = struct.Struct("!BI")
"""Frame kind and whole length, behind them in the first part."""
# Flags of a part.
FIRST: Final = 1
LAST: Final = 2


@define(eq=False)
class _Message:
    index: int
    kind: int
    head: bytes
    body: bytes
    length: int
    origin: Any
    sent: int = 0
    stream: int = 0


@define(eq=False)
class _Queue:
    receiver: Hashable
    messages: deque[_Message] = field(factory=deque)
    size: int = 0


class Outbox:
    """The send side of one data lane.

    Args:
        settings: Bounds of this node.
        window: Bytes in flight that the peer allows; the smaller of it and ``settings.window`` counts.
    """

    def __init__(self, settings: TransportSettings, window: int | None = None) -> None:
        self._window = min(settings.window, window or settings.window)
        self._receiver_window = min(settings.receiver_window, self._window - CHUNK)
        self._max_bytes = settings.queue_bytes
        self._max_messages = settings.queue_messages
        self._max_receiver_bytes = settings.receiver_queue_bytes
        self._ready: list[Body] = []
        self._origins: list[Any] = []  # of the messages that end in them
        self._flying: deque[tuple[Hashable, int]] = deque()
        self._in_flight = 0
        self._by_receiver: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, _Queue] = {}
        self._turns: deque[_Queue] = deque()
        self._queued_bytes = 0
        self._queued_messages = 0
        self._put = 0
        self._complete = 0
        self._streams = 0
        self._partial = 0
        self._fences: deque[tuple[int, Any]] = deque()

    @property
    def in_flight(self) -> int:
        """Bytes written (or ready to be) and not yet acknowledged."""
        return self._in_flight

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the window."""
        return self._queued_bytes

    @property
    def complete(self) -> int:
        """How many messages have left whole."""
        return self._complete

    def put(
        self, receiver: Hashable, kind: int, body: bytes, origin: Any = None, *, head: bytes = b""
    ) -> bool:
        """Queue a message; False when the way to that receiver (or to the peer) is full.

        Args:
            receiver: Who takes turns with whom; the messages of one receiver stay in order.
            kind: The frame kind.
            body: The frame's body, of any length.
            origin: Given back by ``abandon`` when the message was not taken whole by then.
            head: A few bytes that come in front of the body, which may be too long to copy it behind them.
        """
        length = len(head) + len(body)
        size = length + HEADER_SIZE
        mine = self._by_receiver.get(receiver, 0)
        if (
            not self._waiting
            and size <= CHUNK
            and self._in_flight + size <= self._window
            and mine + size <= self._receiver_window
        ):
            self._put += 1
            self._complete += 1
            self._in_flight += size
            self._by_receiver[receiver] = mine + size
            self._flying.append((receiver, size))
            self._ready.append(HEADER.pack(length, kind) + head + body)
            if origin is not None:
                self._origins.append(origin)
            return True
        return self._enqueue(receiver, _Message(self._put + 1, kind, head, body, length, origin))

    def take(self) -> list[Body]:
        """Return what may be written now; it counts as in flight."""
        ready, self._ready = self._ready, []
        self._origins.clear()
        return ready

    def acknowledge(self, count: int) -> None:
        """Note that the peer has consumed so many bytes more, which makes room for others.

        Raises:
            RemoteProtocolError: So many bytes were not in flight, or they do not end with a frame.
        """
        while count > 0 and self._flying:
            receiver, size = self._flying.popleft()
            count -= size
            self._in_flight -= size
            left = self._by_receiver[receiver] - size
            if left:
                self._by_receiver[receiver] = left
            else:
                del self._by_receiver[receiver]
        if count:
            raise RemoteProtocolError("the peer reports bytes as consumed that it never got")
        if self._waiting:
            self._fill()

    def fence(self, tag: Any) -> int | None:
        """Return how many messages have left whole, if none waits; else keep ``tag`` for ``released``."""
        if not self._waiting:
            return self._complete
        self._fences.append((self._put, tag))
        return None

    def released(self) -> list[tuple[Any, int]]:
        """Return the fences before which everything has left, each with the count of whole messages."""
        if not self._fences:
            return []
        oldest = min((queue.messages[0].index for queue in self._waiting.values()), default=self._put + 1)
        out = []
        while self._fences and self._fences[0][0] < oldest:
            out.append((self._fences.popleft()[1], self._complete))
        return out

    def abandon(self) -> tuple[list[Any], list[Any]]:
        """Forget everything: the lane is lost.

        Returns:
            The tags of the fences that were kept, and the origins of the messages never taken whole.
        """
        tags = [tag for _, tag in self._fences]
        left = self._origins + [
            message.origin
            for queue in self._turns
            for message in queue.messages
            if message.origin is not None
        ]
        self._fences.clear()
        self._waiting.clear()
        self._turns.clear()
        self._ready.clear()
        self._origins = []
        self._queued_bytes = self._queued_messages = 0
        return tags, left

    def _enqueue(self, receiver: Hashable, message: _Message) -> bool:
        queue = self._waiting.get(receiver)
        size = message.length
        if (
            self._queued_messages >= self._max_messages
            or self._queued_bytes + size > self._max_bytes
            or (queue.size if queue else 0) + size > self._max_receiver_bytes
        ):
            return False
        if queue is None:
            queue = self._waiting[receiver] = _Queue(receiver)
            self._turns.append(queue)
        self._put += 1
        queue.messages.append(message)
        queue.size += size
        self._queued_bytes += size
        self._queued_messages += 1
        self._fill()
        return True

    def _fill(self) -> None:
        """Move frames into the window, one per receiver and turn, until no receiver can send any more."""
        blocked = 0
        while self._turns and blocked < len(self._turns):
            queue = self._turns[0]
            message = queue.messages[0]
            end, size = _next_frame(message)
            if self._in_flight + size > self._window:
                return
            mine = self._by_receiver.get(queue.receiver, 0)
            opens = message.sent == 0 and end < message.length
            if mine + size > self._receiver_window or (opens and self._partial >= PARTIAL_MESSAGES):
                blocked += 1
                self._turns.rotate(-1)
                continue
            blocked = 0
            if opens:
                self._partial += 1
                self._streams = message.stream = self._streams % 0xFFFFFFFF + 1
            self._by_receiver[queue.receiver] = mine + size
            self._emit(queue, message, end, size)
            if queue.messages:
                self._turns.rotate(-1)
            else:
                self._turns.popleft()
                del self._waiting[queue.receiver]

    def _emit(self, queue: _Queue, message: _Message, end: int, size: int) -> None:
        taken = end - message.sent
        self._ready += _frame(message, end)
        self._in_flight += size
        self._flying.append((queue.receiver, size))
        queue.size -= taken
        self._queued_bytes -= taken
        message.sent = end
        if end == message.length:
            self._complete += 1
            self._queued_messages -= 1
            self._partial -= message.stream != 0
            if message.origin is not None:
                self._origins.append(message.origin)
            queue.messages.popleft()


_SLICE: Final = CHUNK - HEADER_SIZE - PART_HEAD.size - PART_FIRST.size


def _next_frame(message: _Message) -> tuple[int, int]:
    """Return up to where the message's next frame reaches, and the size of that frame."""
    length = message.length
    if length + HEADER_SIZE <= CHUNK:
        return length, length + HEADER_SIZE
    end = min(message.sent + _SLICE, length)
    head = PART_HEAD.size + (0 if message.sent else PART_FIRST.size)
    return end, HEADER_SIZE + head + end - message.sent


def _frame(message: _Message, end: int) -> list[Body]:
    head, length, sent = message.head, message.length, message.sent
    if message.stream == 0:
        return [HEADER.pack(length, message.kind) + head, message.body]
    flags = (LAST if end == length else 0) | (0 if sent else FIRST)
    front = PART_HEAD.pack(message.stream, flags)
    if sent == 0:
        front += PART_FIRST.pack(message.kind, length) + head
        sent = len(head)
    piece = memoryview(message.body)[sent - len(head) : end - len(head)]
    return [HEADER.pack(len(front) + len(piece), PART) + front, piece]
