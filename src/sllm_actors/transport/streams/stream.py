"""One stream as a program sees it: a transport with asyncio's names, on any event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from sllm_actors.transport.errors import TunnelBroken, TunnelRefused

from .stream_state import StreamState
from .wire import ACCEPT, DATA, END, NUMBER_SIZE, RESET, STREAM_WINDOW, reason_of, refusal_of

if TYPE_CHECKING:
    from .lane import TunnelLane

log = structlog.get_logger("sllm_actors.transport")

HIGH: Final = STREAM_WINDOW
"""A writer is told to pause when more bytes than this wait."""


class TunnelStream(asyncio.Transport):
    """One end of a stream. One class of protocol serves sockets and streams: asyncio's own names.

    The protocol is called as asyncio calls one: ``connection_made`` (before ``open_stream`` returns),
    ``data_received``, ``eof_received`` (a false result closes the stream), ``pause_writing`` and
    ``resume_writing``, and at the end ``connection_lost``, once. But for ``connection_made`` and
    ``pause_writing`` nothing is called from within a call of the stream's methods. What a protocol raises is
    logged and resets the stream.

    ``connection_lost`` gets None after an orderly end (and after ``abort``), or

    - ``TunnelRefused``: nothing of the stream went anywhere; ``NodeFull`` if there was no room;
    - ``PeerDown``: the peer has been lost;
    - ``TunnelBroken``: the lane broke, or the far end reset the stream.

    Attributes:
        accepted: Whether the far end has accepted it.
    """

    __slots__ = (
        "_closing",
        "_end",
        "_ended",
        "_lane",
        "_lost",
        "_on_accepted",
        "_protocol",
        "_reading",
        "_refused",
        "_unread",
        "answering",
        "state",
    )

    def __init__(
        self,
        lane: TunnelLane,
        state: StreamState,
        protocol: asyncio.Protocol | None,
        on_accepted: Callable[[], None] | None = None,
    ) -> None:
        self.state = state
        self.answering: Callable[[], None] | None = None
        self._lane = lane
        self._protocol = protocol
        self._on_accepted = on_accepted
        self._reading = protocol is not None
        self._unread: deque[bytes] | None = None
        self._ended = False
        self._end = False
        self._closing = False
        self._lost = False
        self._refused = False

    def __repr__(self) -> str:
        return f"<TunnelStream {self.state.number} with {self._lane.peer.node}>"

    @property
    def accepted(self) -> bool:
        return self.state.accepted

    @property
    def tried(self) -> bool:
        """Whether something of it may have reached what its request names. (If not, try elsewhere.)"""
        return self.state.announced and not self._refused

    # -- asyncio.Transport -------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing but the ``peername``: the id of the node at the other end."""
        return self._lane.peer.node if name == "peername" else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes from now on to another protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; those that do not fit into the credits wait here.

        Raises:
            RuntimeError: ``write_eof`` was called before.
        """
        if self._closing:
            return
        state = self.state
        if state.ending:
            raise RuntimeError("a stream takes no bytes after write_eof")
        self._lane.write(state, data if type(data) is bytes else bytes(data))
        if state.queued > HIGH and not state.held:
            state.held = True
            self._call("pause_writing")

    def writelines(self, list_of_data: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """A stream can be half-closed."""
        return True

    def write_eof(self) -> None:
        """Close this side behind what was written; the other end can still send."""
        if not self._closing:
            self._lane.end_stream(self.state)

    def close(self) -> None:
        """Close both sides behind what was written; nothing is read any more."""
        if self._closing:
            return
        self._closing = True
        self._forget_unread()
        self._lane.close(self.state)
        if self.state.over:
            self._lose(None)

    def abort(self) -> None:
        """End the stream at once; the far end is told."""
        self.reset("its other end has left")

    def reset(self, reason: str) -> None:
        """End the stream at once, and tell the far end why."""
        if not self._lost:
            self._closing = True
            self._lane.reset(self.state, reason)
            self._lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closing

    def pause_reading(self) -> None:
        """Receive nothing until ``resume_reading``: the far end may send one window more, then it waits."""
        self._reading = False

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._reading and not self._closing:
            self._reading = True
            if self._unread or self._ended:
                self._lane.soon.call(self._deliver)

    def is_reading(self) -> bool:
        """Whether it receives."""
        return self._reading and not self._closing

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait here to be sent."""
        return self.state.queued

    # -- for the lane ------------------------------------------------------------------------------

    def begin(self, protocol: asyncio.Protocol) -> bool:
        """Accept the peer's request: this protocol has the stream now. False if that is over already."""
        if self._lost:
            return False
        self.answering = None
        self._protocol = protocol
        self._lane.accept(self.state)
        self._call("connection_made", self)
        self.resume_reading()
        return True

    def refuse(self, error: TunnelRefused) -> None:
        """Refuse the peer's request; reset the stream if it was accepted."""
        if self.state.accepted:
            self.reset(error.reason)
        elif not self._lost:
            self._closing = True
            self._lane.refuse(self.state, error)
            self._lose(None)

    def happened(self, kind: int, body: bytes | memoryview) -> None:
        """Take what the peer has sent."""
        if self._lost:
            return  # what came before in the same read has ended it
        if kind == DATA:
            if self._closing:
                return
            data = bytes(body[NUMBER_SIZE:])
            if self._reading and not self._unread:
                self._lane.consumed(self.state, len(data))
                self._call("data_received", data)
            else:
                if self._unread is None:
                    self._unread = deque()
                self._unread.append(data)
                self._lane.unread += len(data)
        elif kind == END:
            self._ended = True
            if self._closing:
                if self.state.over:
                    self._lose(None)
            elif self._reading and not self._unread:
                self._end_of_file()
        elif kind == ACCEPT:
            if self._on_accepted is not None:
                self._lane.soon.call(self._tell_accepted)
        elif kind == RESET:
            reason = reason_of(body)
            self.broken(TunnelBroken(f"the far end has reset the stream: {reason}") if reason else None)
        else:
            self._refused = True
            self.broken(refusal_of(body))

    def broken(self, error: Exception | None) -> None:
        """The stream is over, whatever waits to be read or written."""
        if error is None and not self._closing:
            if not self._ended:
                error = TunnelBroken("the far end has left")
            elif not self._end:
                return  # who reads no more has said goodbye: what was said before is still to be read
        self._closing = True
        self._lose(error)

    def finished(self) -> None:
        """Both sides have said all: the stream ends as soon as this side has read all."""
        if self._closing or self._end:
            self._lose(None)

    def resumed(self) -> None:
        """The writer may go on."""
        if not self._closing:
            self._call("resume_writing")

    # -- inside ------------------------------------------------------------------------------------

    def _tell_accepted(self) -> None:
        if self._on_accepted is not None and not self._closing:
            self._on_accepted()

    def _deliver(self) -> None:
        unread = self._unread
        while unread and self._reading and not self._closing:
            data = unread.popleft()
            self._lane.unread -= len(data)
            self._lane.consumed(self.state, len(data))
            self._call("data_received", data)
        if self._ended and not unread and self._reading and not self._closing:
            self._end_of_file()

    def _end_of_file(self) -> None:
        if self._end:
            return
        self._end = True
        stays = self._call("eof_received")
        if self.state.over:
            self._closing = True
            self._lose(None)
        elif not stays and not self._closing:
            self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._forget_unread()
            self._lane.forget(self)
            if self.answering is not None:
                self.answering()
            if self._protocol is not None:
                self._lane.soon.call(self._protocol.connection_lost, error)

    def _forget_unread(self) -> None:
        if self._unread:
            self._lane.unread -= sum(map(len, self._unread))
            self._unread.clear()

    def _call(self, name: str, *arguments: object) -> Any:
        try:
            return getattr(self._protocol, name)(*arguments)
        except Exception as error:  # noqa: BLE001 - a bug of the protocol costs its stream alone
            log.error("transport.stream_failed", told=name, error=repr(error)[:500])  # noqa: TRY400 - bounded
            self.reset("its other end failed")
            return True
