"""What one end knows of one stream: which halves are open, and what each side may still send."""

from __future__ import annotations

from collections import deque

from .wire import STREAM_WINDOW


class StreamState:
    """One stream of a ``Multiplexer``, which alone changes it.

    Attributes:
        number: What the frames call it.
        ours: Whether this side has opened it.
        announced: Whether its OPEN (or, if the peer opened it, its ACCEPT) has been given out to be written.
            Nothing of a stream of ours that is not announced has reached the peer.
        accepted: Whether the peer's side has accepted it (or this one, if the peer opened it).
        queued: Bytes that wait for credit or for their turn.
        credit: Bytes that the peer still allows.
        window: Bytes that the peer may still send.
        owed: Bytes that were read and not yet given back.
        ending: Whether END (and, with ``closing``, RESET) follows what is queued.
        closing: Whether this side reads no more.
        ended_here: Whether this side's END has been given out.
        ended_there: Whether the peer's END has come.
        over: Whether the stream has ended, both ways.
        held: Whether its writer waits to be told that ``queued`` has fallen; the multiplexer takes it back.
    """

    __slots__ = (
        "accepted",
        "announced",
        "closing",
        "credit",
        "ended_here",
        "ended_there",
        "ending",
        "held",
        "number",
        "ours",
        "over",
        "owed",
        "pieces",
        "queued",
        "request",
        "window",
    )

    def __init__(self, number: int, *, ours: bool, request: bytes) -> None:
        self.number = number
        self.ours = ours
        self.request = request
        self.pieces: deque[bytes | memoryview] = deque()
        self.queued = 0
        self.credit = STREAM_WINDOW
        self.window = STREAM_WINDOW
        self.owed = 0
        self.announced = False
        self.accepted = False
        self.ending = False
        self.closing = False
        self.ended_here = False
        self.ended_there = False
        self.over = False
        self.held = False

    def __repr__(self) -> str:
        return f"<StreamState {self.number}>"

    def cut(self, size: int, into: list[bytes | memoryview]) -> None:
        """Move the next ``size`` queued bytes behind ``into``; as many must be there."""
        self.queued -= size
        self.credit -= size
        pieces = self.pieces
        while size:
            piece = pieces.popleft()
            if len(piece) > size:
                view = memoryview(piece)
                pieces.appendleft(view[size:])
                piece = view[:size]
            into.append(piece)
            size -= len(piece)
