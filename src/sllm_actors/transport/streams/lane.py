"""One connection that carries streams: the multiplexer, the socket, and the streams as programs see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import anyio
import structlog
from attrs import define

from sllm_actors.actors.errors import PeerDown
from sllm_actors.transport.connection import Connection
from sllm_actors.transport.errors import TunnelBroken, TunnelRefused
from sllm_actors.transport.frame import HEARTBEAT, Body, Frame, encode
from sllm_actors.transport.lane_opener import OpenedLane
from sllm_actors.transport.peer_link import PeerLink
from sllm_actors.transport.settings import TransportSettings
from sllm_actors.transport.sockets import limit_silence

from .multiplexer import Multiplexer
from .soon import Soon
from .stream import TunnelStream
from .stream_state import StreamState
from .wire import OPEN

log = structlog.get_logger("sllm_actors.transport")

_HEARTBEAT = encode(HEARTBEAT, b"")


@define
class StreamCount:
    """How many streams a node has, of both directions and on all lanes."""

    open: int = 0


class TunnelLane:
    """A tunnel lane, from when it is wanted: streams can be opened before it is connected.

    Args:
        link: The link with the peer that it was opened under. The lane outlives that: it carries the streams
            which it has for as long as both processes live, but takes no new ones of this side's.
        dialler: Whether this node dials it.
        settings: Clocks and bounds.
        soon: Makes the calls that wait.
        count: Counts the streams of this node.
        on_open: Takes the peer's request for a stream, which comes with the bytes of it.
        deadline: When it must be connected, by the event loop's clock.

    Attributes:
        streams: By their state.
        unread: Bytes that have come and that no protocol has taken.
        ended: Whether it is gone.
    """

    def __init__(
        self,
        link: PeerLink,
        *,
        dialler: bool,
        settings: TransportSettings,
        soon: Soon,
        count: StreamCount,
        on_open: Callable[[TunnelLane, StreamState, Body], None],
        deadline: float,
    ) -> None:
        self.link = link
        self.peer = link.peer
        self.dialler = dialler
        self.soon = soon
        self.streams: dict[StreamState, TunnelStream] = {}
        self.unread = 0
        self.ended = False
        self._settings = settings
        self._count = count
        self._on_open = on_open
        self._deadline = deadline
        self._multiplexer = Multiplexer(dialler=dialler, max_streams=settings.max_lane_streams)
        self._connection: Connection | None = None
        self._heard = 0.0
        self._flushing = False
        self._error: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether it has its connection."""
        return self._connection is not None

    @property
    def buffered(self) -> int:
        """Bytes that wait here to be sent or to be read."""
        return self._multiplexer.queued + self.unread

    def usable(self, link: PeerLink) -> bool:
        """Whether new streams to that life of the peer may be opened on it."""
        return self.link is link and not self.ended

    async def run(self, opened: OpenedLane) -> None:
        """Carry the streams over a connection until that ends; closes it."""
        limit_silence(opened.stream, self._settings.budget)
        self._heard = anyio.current_time()
        connection = self._connection = Connection(opened.stream, opened.rest, self._on_frames, self._supply)
        connection.wake()
        reason = "this node has stopped"
        try:
            reason = await connection.run()
        finally:
            log.debug("tunnel.lane_closed", peer=self.peer.node, reason=reason)
            self.end(self._error or TunnelBroken(f"the tunnel lane to {self.peer.node} was lost: {reason}"))

    def end(self, error: Exception) -> None:
        """End the lane; its streams break with that error, but those that have all their bytes."""
        if self.ended:
            return
        self.ended = True
        self._error = error
        if self._connection is not None:
            self._connection.close(str(error))
        breaking = [stream for stream in self.streams.values() if not stream.state.over]
        self._multiplexer.abandon()
        for stream in breaking:
            stream.broken(error)

    def sever(self, reason: str) -> None:
        """End the lane: the peer cannot be reached any more."""
        self.end(PeerDown(self.peer.node, reason))

    def link_lost(self) -> None:
        """Note that the lane is retired: it ends with the last of its streams, or was never needed."""
        if self._connection is None or not self.streams:
            self._retire()

    def tick(self, now: float, late: float, *, beat: bool) -> None:
        """Check the deadlines; ``late`` are seconds for which this process did not run."""
        self._deadline += late
        connection = self._connection
        if connection is None:
            if now >= self._deadline:
                self.end(TunnelRefused(f"no tunnel lane to {self.peer.node} came about in time"))
            return
        self._heard = now if connection.noisy else self._heard + late
        connection.noisy = False
        if now - self._heard >= self._settings.budget:
            self.end(
                TunnelBroken(f"the tunnel lane to {self.peer.node} was silent for {now - self._heard:.1f} s")
            )
        elif beat and not connection.backlog:
            connection.send(_HEARTBEAT)

    # -- for its streams ---------------------------------------------------------------------------

    def open(
        self, request: bytes, protocol: asyncio.Protocol, on_accepted: Callable[[], None] | None
    ) -> TunnelStream:
        """Open a stream."""
        stream = TunnelStream(self, self._multiplexer.open(request), protocol, on_accepted)
        self._add(stream)
        self._changed()
        try:
            protocol.connection_made(stream)
        except BaseException:
            stream.abort()
            raise
        return stream

    def answer(self, state: StreamState) -> TunnelStream:
        """Return the stream that the peer asks for; it is to be begun or refused."""
        stream = TunnelStream(self, state, None)
        self._add(stream)
        return stream

    def accept(self, state: StreamState) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.accept(state)
        self._changed()

    def refuse(self, state: StreamState, error: TunnelRefused) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.refuse(state, error)
        self._changed()

    def write(self, state: StreamState, data: bytes) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.write(state, data)
        if not self._flushing:
            self._flushing = True
            self.soon.call(self._flush)

    def end_stream(self, state: StreamState) -> None:
        """See ``Multiplexer.end``."""
        self._multiplexer.end(state)
        self._changed()

    def close(self, state: StreamState) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.close(state)
        self._changed()

    def reset(self, state: StreamState, reason: str) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.reset(state, reason)
        self._changed()

    def consumed(self, state: StreamState, count: int) -> None:
        """See ``Multiplexer``."""
        self._multiplexer.consumed(state, count)
        self._changed()

    def forget(self, stream: TunnelStream) -> None:
        """A stream is over."""
        del self.streams[stream.state]
        self._count.open -= 1
        if self.link.down and not self.streams and not self.ended:
            self._retire()

    # -- inside ------------------------------------------------------------------------------------

    def _add(self, stream: TunnelStream) -> None:
        self.streams[stream.state] = stream
        self._count.open += 1

    def _retire(self) -> None:
        if self._connection is None:
            self.sever("its link is lost")
        else:
            self._connection.finish(self._settings.goodbye_timeout)

    def _on_frames(self, frames: list[Frame]) -> None:
        streams = self.streams
        for kind, state, body in self._multiplexer.receive(frames):
            if self.ended:
                return  # somebody who was told of this has ended it
            if kind == OPEN:
                self._on_open(self, state, body)
            else:
                stream = streams.get(state)
                if stream is not None:
                    stream.happened(kind, body)
        self._changed()

    def _changed(self) -> None:
        if not self._flushing and self._multiplexer.has_output:
            self._flushing = True
            self.soon.call(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        connection = self._connection
        if connection is not None:
            while self._multiplexer.has_output and connection.flush():
                pass

    def _supply(self) -> Sequence[Body]:
        multiplexer = self._multiplexer
        frames = multiplexer.take()
        if multiplexer.drained or multiplexer.over:
            drained, multiplexer.drained = multiplexer.drained, []
            over, multiplexer.over = multiplexer.over, []
            for state in drained:
                if state in self.streams:
                    self.soon.call(self.streams[state].resumed)
            for state in over:
                if state in self.streams:
                    self.streams[state].finished()
        return frames
