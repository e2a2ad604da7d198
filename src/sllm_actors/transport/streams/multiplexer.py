"""Many streams over one connection. Pure: frames and calls go in, events and frames to write come out.

Two credits bound what a peer can make this node keep. Each stream may have ``STREAM_WINDOW`` bytes unread,
which are given back as they are read. All streams of the connection together may have ``LANE_WINDOW`` bytes
under way, which are given back as they arrive, so that a stream which nobody reads stalls no other. Streams
that have bytes to send take turns, one frame each. A peer that exceeds a credit, or says what no correct peer
says, has broken the protocol, which ends the connection.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

from sllm_actors.transport.errors import NodeFull, RemoteProtocolError, TunnelRefused
from sllm_actors.transport.frame import HEARTBEAT, IGNORABLE, Body, Frame

from .stream_state import StreamState
from .wire import (
    ACCEPT,
    CREDIT,
    DATA,
    END,
    LANE,
    LANE_WINDOW,
    NUMBER_SIZE,
    OPEN,
    PIECE,
    REQUEST_LIMIT,
    RESET,
    STREAM_WINDOW,
    count_of,
    credit,
    frame,
    head,
    number_of,
    refusal,
    reset,
)

BATCH: Final = 64 * 1024
"""Bytes of streams that one ``take`` gives out at most: so much stands between a new request and its turn."""

UNREAD_ANSWERS: Final = 1024
"""Refusals and resets that may wait, beyond one for each stream, for a peer that does not read."""

LOW: Final = 16 * 1024
"""A writer that was held is told once no more than so many of its bytes wait."""

_STREAM_BACK: Final = STREAM_WINDOW // 2
_LANE_BACK: Final = LANE_WINDOW // 4

Event: TypeAlias = tuple[int, StreamState, Body]
"""What has happened: the kind of a frame, its stream, and the frame's body.

``OPEN``: the peer asks for a stream. ``ACCEPT``, ``REFUSE``: its answer. ``DATA``: bytes (behind the number),
to be given back with ``consumed``. ``END``: no more bytes come. ``RESET``: the stream is over.
"""


class Multiplexer:
    """The streams of one connection.

    Args:
        dialler: Whether this side has dialled the connection.
        max_streams: How many streams of the peer's there may be at a time; more are refused.

    Attributes:
        streams: Those that are not over, by number.
        queued: Bytes of all streams that wait to be given out.
        drained: Streams whose writer was held and may go on. Whoever reads the list clears it.
        over: Streams that have ended because the last of what they had was given out. Likewise.
    """

    def __init__(self, *, dialler: bool, max_streams: int) -> None:
        self.streams: dict[int, StreamState] = {}
        self.queued = 0
        self.drained: list[StreamState] = []
        self.over: list[StreamState] = []
        self._max_streams = max_streams
        self._next = 1 if dialler else 2
        self._seen = 0
        self._theirs = 0
        self._credit = LANE_WINDOW
        self._window = LANE_WINDOW
        self._owed = 0
        self._fresh: dict[StreamState, None] = {}
        self._due: dict[StreamState, None] = {}
        self._answers: list[bytes] = []
        self._turns: OrderedDict[StreamState, None] = OrderedDict()

    # -- what this side does -----------------------------------------------------------------------

    def open(self, request: bytes) -> StreamState:
        """Open a stream; bytes may be written at once.

        Raises:
            ValueError: The request is longer than ``REQUEST_LIMIT``.
        """
        if len(request) > REQUEST_LIMIT:
            raise ValueError(f"a request of {len(request)} bytes is longer than {REQUEST_LIMIT}")
        state = StreamState(self._next, ours=True, request=request)
        self._next += 2
        self.streams[state.number] = state
        self._fresh[state] = None
        return state

    def accept(self, state: StreamState) -> None:
        """Accept a stream of the peer's; nothing may be written to it before."""
        if not state.over:
            state.accepted = True
            self._fresh[state] = None

    def refuse(self, state: StreamState, error: TunnelRefused) -> None:
        """Refuse a stream of the peer's that has not been accepted: it is over."""
        if not state.over:
            self._answers.append(refusal(state.number, error))
            self._remove(state)

    def write(self, state: StreamState, data: bytes) -> None:
        """Queue bytes; the caller bounds ``state.queued``. Dropped where the stream takes no more."""
        if state.over or state.ending or not data:
            return
        state.pieces.append(data)
        state.queued += len(data)
        self.queued += len(data)
        if state.credit:
            self._turns[state] = None

    def end(self, state: StreamState) -> None:
        """Send no more behind what is queued; the other direction goes on."""
        if not state.over and not state.ending:
            state.ending = True
            if not state.queued:
                self._turns[state] = None

    def close(self, state: StreamState) -> None:
        """Send no more behind what is queued, and read no more: what still comes is dropped."""
        if state.over or state.closing:
            return
        state.closing = True
        if state.ended_here:
            self._say_goodbye(state)
        else:
            self.end(state)

    def reset(self, state: StreamState, reason: str) -> None:
        """End a stream both ways at once; what is queued is dropped."""
        if state.over:
            return
        if state.announced or not state.ours:
            self._answers.append(reset(state.number, reason))
        self._remove(state)

    def consumed(self, state: StreamState, count: int) -> None:
        """Give back so many bytes that were read."""
        state.owed += count
        if state.owed >= _STREAM_BACK and not state.ended_there and not state.over:
            self._due[state] = None

    # -- what the peer does ------------------------------------------------------------------------

    def receive(self, frames: list[Frame]) -> list[Event]:
        """Take frames, and return what they bring about, in order.

        Raises:
            RemoteProtocolError: No correct peer sends that. The connection must end; nothing of these frames
                is to be acted upon.
        """
        events: list[Event] = []
        for kind, body in frames:
            if kind == HEARTBEAT or kind >= IGNORABLE:
                continue
            if not OPEN <= kind <= RESET:
                raise RemoteProtocolError(f"frame kind {kind} does not belong on a tunnel lane")
            number = number_of(body)
            if kind == OPEN:
                self._opened(number, body, events)
                continue
            if kind == DATA:
                self._arrived(len(body) - NUMBER_SIZE)
            elif kind == CREDIT and number == LANE:
                self._credit = _raised(self._credit, body, LANE_WINDOW)
                continue
            state = self.streams.get(number)
            if state is not None:
                self._happened(kind, state, body, events)
            elif not self._was_there(number):
                raise RemoteProtocolError(f"stream {number} was never opened")
        return events

    def _opened(self, number: int, body: Body, events: list[Event]) -> None:
        if number <= self._seen or number % 2 == self._next % 2:
            raise RemoteProtocolError(f"stream {number} cannot be opened")
        if len(body) - NUMBER_SIZE > REQUEST_LIMIT:
            raise RemoteProtocolError("the request of a stream is too long")
        if len(self._answers) > self._max_streams + UNREAD_ANSWERS:
            raise RemoteProtocolError("it opens streams and does not read what it is told of them")
        self._seen = number
        if self._theirs >= self._max_streams:
            self._answers.append(
                refusal(number, NodeFull(f"{self._theirs} streams are open on this lane already"))
            )
            return
        self._theirs += 1
        state = self.streams[number] = StreamState(number, ours=False, request=b"")
        events.append((OPEN, state, body))

    def _arrived(self, size: int) -> None:
        if not 0 < size <= PIECE:
            raise RemoteProtocolError(f"{size} bytes in one frame of a stream, 1 to {PIECE} are allowed")
        if size > self._window:
            raise RemoteProtocolError("the streams of a lane carry more than its credit")
        self._window -= size
        self._owed += size

    def _happened(self, kind: int, state: StreamState, body: Body, events: list[Event]) -> None:
        if kind == DATA:
            self._data(state, body, events)
        elif kind == CREDIT:
            state.credit = _raised(state.credit, body, STREAM_WINDOW)
            if state.queued and state.credit:
                self._turns[state] = None
        elif kind == END:
            self._ended(state)
            events.append((END, state, body))
        elif kind == RESET:
            self._remove(state)
            events.append((RESET, state, body))
        else:
            if not state.announced or not state.ours or state.accepted:
                raise RemoteProtocolError(f"stream {state.number} waits for no answer")
            if kind == ACCEPT:
                state.accepted = True
            else:
                self._remove(state)
            events.append((kind, state, body))

    def _data(self, state: StreamState, body: Body, events: list[Event]) -> None:
        size = len(body) - NUMBER_SIZE
        if state.ended_there or (state.ours and not state.accepted):
            raise RemoteProtocolError(
                f"bytes of stream {state.number} come before its beginning or after its end"
            )
        if size > state.window:
            raise RemoteProtocolError(f"stream {state.number} carries more than its credit")
        state.window -= size
        if state.closing:
            self.consumed(state, size)
        else:
            events.append((DATA, state, body))

    def _ended(self, state: StreamState) -> None:
        if state.ended_there or (state.ours and not state.accepted):
            raise RemoteProtocolError(f"stream {state.number} ends before its beginning or twice")
        state.ended_there = True
        self._due.pop(state, None)
        if state.ended_here:
            self._remove(state)

    # -- what is to be written ---------------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Whether ``take`` would give something out."""
        return bool(
            self._answers
            or self._fresh
            or self._due
            or self._owed >= _LANE_BACK
            or (self._turns and (self._credit or not next(iter(self._turns)).queued))
        )

    def take(self) -> list[Body]:
        """Give out what is to be written next; call again until nothing comes."""
        out: list[Body] = []
        if self._answers:
            out += self._answers
            self._answers = []
        if self._owed >= _LANE_BACK:
            out.append(credit(LANE, self._owed))
            self._window += self._owed
            self._owed = 0
        if self._fresh:
            for state in self._fresh:
                out.append(
                    frame(OPEN, state.number, state.request) if state.ours else frame(ACCEPT, state.number)
                )
                state.announced = True
                state.request = b""
            self._fresh = {}
        if self._due:
            for state in self._due:
                out.append(credit(state.number, state.owed))
                state.window += state.owed
                state.owed = 0
            self._due = {}
        if self._turns:
            self._take_turns(out)
        return out

    def _take_turns(self, out: list[Body]) -> None:
        left, turns = BATCH, self._turns
        while turns and left > 0:
            state, _ = turns.popitem(last=False)
            if state.queued:
                size = min(state.queued, state.credit, self._credit, PIECE)
                if not size:  # nothing goes on the lane until the peer gives bytes back, as they arrive
                    turns[state] = None
                    turns.move_to_end(state, last=False)
                    return
                self._credit -= size
                self.queued -= size
                left -= size
                out.append(head(DATA, state.number, size))
                state.cut(size, out)
                if state.held and state.queued <= LOW:
                    state.held = False
                    self.drained.append(state)
            if state.queued:
                if state.credit:
                    turns[state] = None
            elif state.ending:
                self._end_now(state, out)

    def _end_now(self, state: StreamState, out: list[Body]) -> None:
        out.append(frame(END, state.number))
        state.ended_here = True
        if state.ended_there:
            self._remove(state)
        elif state.closing:
            self._say_goodbye(state)
        if state.over:
            self.over.append(state)

    # -- inside ------------------------------------------------------------------------------------

    def _say_goodbye(self, state: StreamState) -> None:
        self._answers.append(reset(state.number, ""))
        self._remove(state)

    def _remove(self, state: StreamState) -> None:
        state.over = True
        del self.streams[state.number]
        self._theirs -= not state.ours
        self._fresh.pop(state, None)
        self._due.pop(state, None)
        self.queued -= state.queued
        state.queued = 0
        state.pieces.clear()
        self._turns.pop(state, None)

    def abandon(self) -> None:
        """The connection is gone: end every stream."""
        for state in list(self.streams.values()):
            self._remove(state)
        self._answers.clear()

    def _was_there(self, number: int) -> bool:
        if number % 2 == self._next % 2:
            return 0 < number < self._next
        return 0 < number <= self._seen


def _raised(present: int, body: Body, limit: int) -> int:
    raised = present + count_of(body)
    if raised > limit:
        raise RemoteProtocolError("more bytes are given back than were sent")
    return raised
