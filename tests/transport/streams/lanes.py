"""Two multiplexers and the bytes between them, without sockets."""

from __future__ import annotations

from attrs import define, field

from sllm_actors.transport.errors import TunnelRefused
from sllm_actors.transport.frame import Body, FrameDecoder
from sllm_actors.transport.streams.multiplexer import Event, Multiplexer
from sllm_actors.transport.streams.stream_state import StreamState
from sllm_actors.transport.streams.wire import (
    ACCEPT,
    DATA,
    END,
    NUMBER_SIZE,
    OPEN,
    REFUSE,
    RESET,
    reason_of,
    refusal_of,
)


@define(eq=False)
class Side:
    """One end: a multiplexer, and what its program has been told.

    Attributes:
        wire: Bytes that it has written and that the other side has not read.
        requests: What the other side asks for, by the number of the stream.
        got: The bytes that came, by the number of the stream.
        unread: How many of them were not given back yet.
        ended: Streams of which the other side's end has come.
        resets: Streams that the other side has reset, and why.
        refused: Streams that the other side has refused, and why.
        greedy: Whether it gives back what comes at once.
    """

    multiplexer: Multiplexer
    accepts: bool = True
    greedy: bool = True
    wire: bytearray = field(factory=bytearray)
    requests: dict[int, bytes] = field(factory=dict)
    got: dict[int, bytearray] = field(factory=dict)
    unread: dict[int, int] = field(factory=dict)
    ended: set[int] = field(factory=set)
    resets: dict[int, str] = field(factory=dict)
    refused: dict[int, TunnelRefused] = field(factory=dict)
    events: list[Event] = field(factory=list)
    decoder: FrameDecoder = field(factory=FrameDecoder)

    @property
    def streams(self) -> dict[int, StreamState]:
        return self.multiplexer.streams

    def write(self) -> None:
        """Put everything that is to be written on the wire."""
        while frames := self.multiplexer.take():
            self.wire += b"".join(frames)

    def read(self, data: bytes) -> None:
        """Take bytes of the other side."""
        frames = self.decoder.receive(data)
        assert self.decoder.failure is None
        for kind, state, body in self.multiplexer.receive(frames):
            self.events.append((kind, state, bytes(body)))
            self.happened(kind, state, body)

    def happened(self, kind: int, state: StreamState, body: Body) -> None:
        number = state.number
        if kind == OPEN:
            self.requests[number] = bytes(body[NUMBER_SIZE:])
            if self.accepts:
                self.multiplexer.accept(state)
        elif kind == DATA:
            self.got.setdefault(number, bytearray()).extend(body[NUMBER_SIZE:])
            self.unread[number] = self.unread.get(number, 0) + len(body) - NUMBER_SIZE
            if self.greedy:
                self.consume(state)
        elif kind == END:
            self.ended.add(number)
        elif kind == RESET:
            self.resets[number] = reason_of(body)
        elif kind == REFUSE:
            self.refused[number] = refusal_of(body)
        else:
            assert kind == ACCEPT
            assert state.accepted

    def consume(self, state: StreamState) -> None:
        """Read all that has come of a stream."""
        self.multiplexer.consumed(state, self.unread.pop(state.number, 0))


def lane(*, max_streams: int = 8) -> tuple[Side, Side]:
    """Return the side that dialled, and the other one."""
    return (
        Side(Multiplexer(dialler=True, max_streams=max_streams)),
        Side(Multiplexer(dialler=False, max_streams=max_streams)),
    )


def exchange(left: Side, right: Side) -> None:
    """Let both sides say all that they can say, until nothing moves any more."""
    moved = True
    while moved:
        moved = False
        for here, there in ((left, right), (right, left)):
            here.write()
            if here.wire:
                data, here.wire = bytes(here.wire), bytearray()
                there.read(data)
                moved = True
