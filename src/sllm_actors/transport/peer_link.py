"""One peer as the shell holds it: its lanes, its control session, and what is due when they come and go.

All decisions are in the pure parts (``LinkLife``, ``ControlSession``, ``Fences``); this wires their effects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import anyio

from sllm_actors.actors.errors import UnknownMessage
from sllm_actors.actors.identity import Address
from sllm_actors.actors.network import Inbound

from .codec import is_count, is_key, pack, unpack
from .connection import Connection
from .control import DEMONITOR, DOWN, LANE_LOST, MONITOR, TUNNEL_CALL, ControlOverflow, ControlSession
from .data_lane import DataLane, LaneCounts
from .envelope import TEXT_LIMIT, EnvelopeCoder
from .errors import RemoteProtocolError
from .fence import FenceOverflow, Fences
from .frame import ACK, GOODBYE, HEARTBEAT, IGNORABLE, SEQUENCED, Body, Frame, encode
from .hello import Lane
from .link import Effect, LinkLife, LinkState, Lose
from .peer import Peer
from .settings import TransportSettings

BACKLOG = 16
"""Acknowledgements are left out while so many frames wait for the socket."""


class OnNews(Protocol):
    """Told what becomes of the peer of a link: that it is up or down, or doubted meanwhile."""

    def __call__(self, link: PeerLink, news: Effect) -> None: ...


def goodbye(reason: str) -> bytes:
    """Return the frame that ends a link in good order."""
    return encode(GOODBYE, reason.encode()[:TEXT_LIMIT])


class PeerLink:
    """The link to one life of a peer.

    Attributes:
        peer: Who it is.
        outbound: Whether this node dialled its present control lane.
        lane: The newest data lane, open or not.
        address: Where this node dialled the peer last, if it did.
        ended: Set when the link is down for good.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        local: Address,
        coder: EnvelopeCoder,
        inbound: Inbound,
        settings: TransportSettings,
        on_news: OnNews,
        on_call: Callable[[PeerLink], None],
    ) -> None:
        self.peer = peer
        self.outbound = peer.outbound
        self.coder = coder
        self.counts = LaneCounts()
        self.control: Connection | None = None
        self.lane: DataLane | None = None
        self.epoch = 0
        self.ended = anyio.Event()
        self.address: tuple[str, int] | None = None
        self.life = LinkLife(settings.budget, anyio.current_time())
        self._local = local
        self._inbound = inbound
        self._settings = settings
        self._session = ControlSession(settings.control_messages, settings.control_bytes)
        self._fences = Fences(settings.control_messages, settings.control_bytes)
        self._on_news = on_news
        self._on_call = on_call

    @property
    def down(self) -> bool:
        """Whether the link is down for good."""
        return self.life.state is LinkState.DOWN

    @property
    def open_lane(self) -> DataLane | None:
        """The data lane, if it is open now."""
        lane = self.lane
        return lane if lane is not None and not lane.connection.closed else None

    @property
    def unacknowledged(self) -> int:
        """Control messages that the peer has not acknowledged."""
        return self._session.unacknowledged

    def monitor(self, key: int | str, watch: int) -> None:
        """Ask the peer for a down signal under the number ``watch``, when its actor ``key`` has ended."""
        self._send(MONITOR, [key, watch])

    def demonitor(self, key: int | str, watch: int) -> None:
        """Take a ``monitor`` back."""
        self._send(DEMONITOR, [key, watch])

    def signal_down(self, watch: int, reason: str) -> None:
        """Send a down signal, fenced behind every message sent before."""
        lane, tag = self.lane, (watch, reason[:TEXT_LIMIT])
        count = lane.outbox.fence(tag) if lane is not None else 0
        if count is not None:
            self._send_down(tag, lane.epoch if lane else 0, count)

    def call_tunnel(self) -> None:
        """Ask the peer to dial a tunnel lane to this node."""
        self._send(TUNNEL_CALL, [])

    def open_control(self, connection: Connection, *, outbound: bool) -> None:
        """Take a control connection that is ready to run; the one before it is closed."""
        if self.control is not None:
            self.control.close("replaced by a newer connection")
        self.control = connection
        self.outbound = outbound
        for frame in self._session.resend():
            connection.send(frame)
        connection.send(self._session.heartbeat())
        self.apply(self.life.opened(Lane.CONTROL, anyio.current_time()))

    def control_closed(self, connection: Connection, reason: str) -> None:
        """Note that a control connection has ended."""
        if self.control is connection:
            self.control = None
            self.apply(self.life.closed(Lane.CONTROL, reason, anyio.current_time()))

    def open_data(self, lane: DataLane) -> None:
        """Take a data lane that is ready to run; the one before it is closed, and its asks fail."""
        if self.lane is not None:
            before = self.lane
            before.connection.close("replaced by a newer lane")
            self.data_closed(before, "replaced by a newer lane")
        self.lane = lane
        self.epoch = lane.epoch
        self._deliver(self._fences.opened(lane.epoch))
        self.apply(self.life.opened(Lane.DATA, anyio.current_time()))

    def data_closed(self, lane: DataLane, reason: str) -> None:
        """Note that a data lane has ended: its asks fail now, and the peer learns of it.

        A connection can break at this end alone, and on an idle lane the peer does not notice: if it is the
        dialler and is not told, it opens no other lane until the whole link is given up.
        """
        count = lane.outbox.complete
        for tag in lane.lost(reason):
            self._send_down(tag, lane.epoch, count)
        if self.lane is lane:
            self._deliver(self._fences.closed())
            self._send(LANE_LOST, [lane.epoch])
            self.apply(self.life.closed(Lane.DATA, reason, anyio.current_time()))

    def progressed(self, lane: DataLane) -> None:
        """Send and deliver the down signals that the lane's progress has made due."""
        for tag, count in lane.outbox.released():
            self._send_down(tag, lane.epoch, count)
        if self._fences.held and lane is self.lane:
            self._deliver(self._fences.delivered(lane.delivered))

    def on_control_frames(self, frames: list[Frame]) -> None:
        """Handle what came on the control lane."""
        for kind, body in frames:
            if self.down:
                return
            if kind == SEQUENCED:
                message = self._session.receive(body)
                if message is not None:
                    self._handle(*message)
            elif kind in {HEARTBEAT, ACK}:
                self._session.acknowledged(body)
            elif kind == GOODBYE:
                reason = bytes(body[:TEXT_LIMIT]).decode("utf-8", "replace")
                self.apply(self.life.ended(f"it said goodbye: {reason}", left=True))
                return
            elif kind < IGNORABLE:
                raise RemoteProtocolError(f"frame kind {kind} does not belong on a control lane")
        # A peer that does not read gets no pile of acknowledgements: the next heartbeat tells it all.
        if self.control is not None and self.control.backlog < BACKLOG:
            acknowledgement = self._session.acknowledge()
            if acknowledgement is not None:
                self.control.send(acknowledgement)

    def say_goodbye(self, reason: str) -> None:
        """Tell the peer that the link ends, and close the control lane once that is written."""
        if self.control is not None:
            self.control.send(goodbye(reason))
            self.control.finish(self._settings.goodbye_timeout)

    def heartbeat(self) -> None:
        """Send a heartbeat, unless so much waits to be written that it would tell nothing."""
        if self.control is not None and not self.control.backlog:
            self.control.send(self._session.heartbeat())

    def tick(self, now: float) -> None:
        """Check the deadlines of the link.

        Only the control lane counts, where something comes with each heartbeat: a busy data lane would hide
        that it has gone silent. For a data lane that goes silent alone, see ``limit_silence``.
        """
        heard = self.control is not None and self.control.noisy
        if self.control is not None:
            self.control.noisy = False
        self.apply(self.life.tick(now, heard=heard))

    def apply(self, effects: list[Effect]) -> None:
        """Carry out effects of ``LinkLife``."""
        for effect in effects:
            if isinstance(effect, Lose):
                self._lose(effect)
            self._on_news(self, effect)

    def _lose(self, lost: Lose) -> None:
        self.ended.set()
        if self.control is not None and not self.control.finishing:
            self.control.close(lost.reason)
        if self.lane is not None:
            self.lane.connection.close(lost.reason)
            self.lane.lost(lost.reason)
        self._deliver(self._fences.ended())

    def _send(self, kind: int, content: list[Any]) -> None:
        if self.down:
            return
        try:
            frame = self._session.send(kind, pack(content))
        except ControlOverflow:
            self.apply(self.life.ended("its control lane is full: it has not acknowledged for too long"))
            return
        if self.control is not None:
            self.control.send(frame)

    def _send_down(self, tag: tuple[int, str], epoch: int, count: int) -> None:
        self._send(DOWN, [*tag, epoch, count])

    def _handle(self, kind: int, body: Body) -> None:
        if kind >= IGNORABLE and kind != LANE_LOST:
            return
        try:
            content = unpack(body)
        except UnknownMessage as error:
            raise RemoteProtocolError(f"control message {kind} cannot be read") from error
        match content:
            case [key, watch, *_] if kind in {MONITOR, DEMONITOR} and is_key(key) and is_count(watch):
                self._watch(kind, key, watch)
            case [watch, str(reason), epoch, count, *_] if kind == DOWN and all(
                map(is_count, (watch, epoch, count))
            ):
                self._hold(epoch, count, (watch, reason[:TEXT_LIMIT]))
            case [*_] if kind == TUNNEL_CALL:
                self._on_call(self)
            case [epoch, *_] if kind == LANE_LOST and is_count(epoch):
                if self.lane is not None and self.lane.epoch == epoch:
                    self.lane.connection.close("the peer has lost it")
            case _:
                raise RemoteProtocolError(f"control message {kind} cannot be read")

    def _hold(self, epoch: int, count: int, signal: tuple[int, str]) -> None:
        self._deliver(self._fences.delivered(self.lane.delivered if self.lane is not None else 0))
        try:
            self._deliver(self._fences.hold(epoch, count, signal, len(signal[1])))
        except FenceOverflow:
            self.apply(self.life.ended("too many of its down signals wait for messages that do not come"))

    def _watch(self, kind: int, key: int | str, watch: int) -> None:
        target = Address(self._local.node, None if isinstance(key, str) else self._local.incarnation, key)
        if kind == MONITOR:
            self._inbound.on_monitor(self.peer.node, target, watch)
        else:
            self._inbound.on_demonitor(self.peer.node, target, watch)

    def _deliver(self, signals: list[tuple[int, str]]) -> None:
        for watch, reason in signals:
            self._inbound.on_down(self.peer.node, watch, reason)
