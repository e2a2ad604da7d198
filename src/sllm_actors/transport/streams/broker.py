"""The tunnel lanes of a node: few for each peer, dialled when they are wanted, by whichever node can dial."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator

import anyio
import structlog

from sllm_actors.actors.errors import UnknownMessage
from sllm_actors.actors.identity import NodeId
from sllm_actors.descriptors import explain, is_out_of_descriptors
from sllm_actors.transport.codec import Codec, pack, unpack
from sllm_actors.transport.errors import HandshakeFailed, NodeFull, TunnelRefused
from sllm_actors.transport.frame import Body
from sllm_actors.transport.hello import Lane
from sllm_actors.transport.lane_opener import LaneOpener, OpenedLane
from sllm_actors.transport.peer import Peer
from sllm_actors.transport.peer_link import PeerLink
from sllm_actors.transport.settings import TransportSettings

from .lane import StreamCount, TunnelLane
from .soon import Soon
from .splice import Target, splice
from .stream import TunnelStream
from .stream_state import StreamState
from .wire import NUMBER_SIZE

log = structlog.get_logger("sllm_actors.transport")

OnTunnel = Callable[[Peer, object], Awaitable[Target]]
"""Opens what a peer's request names, or raises ``TunnelRefused``. A connected socket costs least."""

CROWDED = 256
"""Streams on each lane from which on another lane is opened, up to the bound."""


class TunnelBroker:
    """The tunnel lanes of one transport, and the streams that peers open.

    Args:
        opener: Opens lanes.
        codec: Writes and reads requests.
        settings: Clocks and bounds.
        on_tunnel: Opens what a peer's request names; None to refuse every request.
        start: Starts a task of the transport: an async function and its arguments.
    """

    def __init__(
        self,
        opener: LaneOpener,
        codec: Codec,
        settings: TransportSettings,
        on_tunnel: OnTunnel | None,
        start: Callable[..., None],
    ) -> None:
        self._opener = opener
        self._codec = codec
        self._settings = settings
        self._on_tunnel = on_tunnel
        self._start = start
        self._soon = Soon(start)
        self._count = StreamCount()
        self._lanes: dict[NodeId, list[TunnelLane]] = {}

    @property
    def open(self) -> int:
        """How many streams there are, of both directions."""
        return self._count.open

    def streams(self) -> Iterator[TunnelStream]:
        """Yield every stream."""
        for lane in self._all():
            yield from lane.streams.values()

    @property
    def lanes(self) -> int:
        """How many lanes are connected."""
        return sum(lane.connected for lane in self._all())

    @property
    def buffered(self) -> int:
        """Bytes of all streams that wait here to be sent or to be read."""
        return sum(lane.buffered for lane in self._all())

    def open_stream(
        self,
        link: PeerLink,
        request: object,
        protocol: asyncio.Protocol,
        on_accepted: Callable[[], None] | None,
    ) -> TunnelStream:
        """Open a stream to what ``request`` names at the peer.

        Raises:
            NodeFull: This node has no room for one more stream.
            UnknownMessage: The request is not in the catalog.
            ValueError: The request is too long.
        """
        if self._count.open >= self._settings.max_tunnels:
            raise NodeFull(f"this node has {self._count.open} tunnels open already")
        body = pack(self._codec.to_wire(request))
        return self._lane_to(link).open(body, protocol, on_accepted)

    def called(self, link: PeerLink) -> None:
        """The peer asks this node to dial a tunnel lane to it; in vain where it has enough."""
        lanes = [lane for lane in self._of(link) if lane.usable(link)]
        enough = len(lanes) >= self._settings.tunnel_lanes or not all(lane.connected for lane in lanes)
        if link.address is not None and not enough:
            self._dial(link, link.address)

    async def arrived(self, link: PeerLink, opened: OpenedLane) -> None:
        """Stay with a tunnel lane that a peer has dialled until it ends; owns its stream."""
        lanes = self._of(link)
        waiting = (each for each in lanes if each.usable(link) and not each.dialler and not each.connected)
        lane = next(waiting, None)
        if lane is None:
            # Both may dial at the same time, each as many as it may.
            if sum(not each.dialler for each in lanes) >= 2 * self._settings.tunnel_lanes:
                await anyio.aclose_forcefully(opened.stream)
                return
            lane = self._add(link, dialler=False)
        await self._run(lane, opened)

    def lost(self, link: PeerLink, reason: str, *, severed: bool) -> None:
        """Note that a link is lost.

        A peer that cannot be reached any more takes its streams with it. One that leaves ends its lanes
        itself. One that begins a later life keeps what it has, like its engines.
        """
        for lane in self._of(link)[:]:
            if severed:
                lane.sever(reason)
            elif lane.link is link:
                lane.link_lost()

    def tick(self, now: float, late: float, *, beat: bool) -> None:
        """Check the deadlines of all lanes; ``late`` are seconds for which this process did not run."""
        for lane in list(self._all()):
            lane.tick(now, late, beat=beat)
            if lane.ended and not lane.connected:
                self._remove(lane)

    def stop(self) -> None:
        """This node stops: break what is left, and tell its protocols before this returns."""
        for lane in list(self._all()):
            lane.sever("this node has stopped")
        self._lanes.clear()
        self._soon.run()

    # -- lanes -------------------------------------------------------------------------------------

    def _all(self) -> Iterator[TunnelLane]:
        for lanes in self._lanes.values():
            yield from lanes

    def _of(self, link: PeerLink) -> list[TunnelLane]:
        return self._lanes.get(link.peer.node, [])

    def _lane_to(self, link: PeerLink) -> TunnelLane:
        best: TunnelLane | None = None
        usable = 0
        for lane in self._of(link):
            if lane.usable(link):
                usable += 1
                if best is None or len(lane.streams) < len(best.streams):
                    best = lane
        if best is not None and (len(best.streams) < CROWDED or usable >= self._settings.tunnel_lanes):
            return best
        if link.outbound and link.address is not None:
            return self._dial(link, link.address)
        link.call_tunnel()
        return self._add(link, dialler=False)

    def _add(self, link: PeerLink, *, dialler: bool) -> TunnelLane:
        lane = TunnelLane(
            link,
            dialler=dialler,
            settings=self._settings,
            soon=self._soon,
            count=self._count,
            on_open=self._asked,
            deadline=anyio.current_time() + 2 * self._settings.handshake_timeout,
        )
        self._lanes.setdefault(link.peer.node, []).append(lane)
        return lane

    def _remove(self, lane: TunnelLane) -> None:
        lanes = self._lanes.get(lane.peer.node, [])
        if lane in lanes:
            lanes.remove(lane)
        if not lanes:
            self._lanes.pop(lane.peer.node, None)

    def _dial(self, link: PeerLink, address: tuple[str, int]) -> TunnelLane:
        lane = self._add(link, dialler=True)
        self._start(self._connect, lane, address)
        return lane

    async def _connect(self, lane: TunnelLane, address: tuple[str, int]) -> None:
        node = lane.peer.node
        try:
            opened = await self._opener.dial(*address, Lane.TUNNEL, peer=lane.peer)
        except TimeoutError:
            lane.end(TunnelRefused(f"{node} did not finish the handshake in time"))
        except (OSError, HandshakeFailed) as error:
            full = is_out_of_descriptors(error)
            lane.end(
                NodeFull("no file descriptors are left here")
                if full
                else TunnelRefused(f"no tunnel lane to {node}: {error}")
            )
        else:
            await self._run(lane, opened)
        finally:
            # Cancelled while it dialled, nobody else knows of the streams that wait for the lane.
            lane.sever("this node has stopped")
            self._remove(lane)

    async def _run(self, lane: TunnelLane, opened: OpenedLane) -> None:
        if lane.ended:
            await anyio.aclose_forcefully(opened.stream)
            return
        try:
            await lane.run(opened)
        finally:
            self._remove(lane)

    # -- the peers' requests -----------------------------------------------------------------------

    def _asked(self, lane: TunnelLane, state: StreamState, body: Body) -> None:
        before, stream = self._count.open, lane.answer(state)
        if self._on_tunnel is None:
            stream.refuse(TunnelRefused("this node opens no tunnels"))
        elif before >= self._settings.max_tunnels:
            stream.refuse(NodeFull(f"this node has {before} tunnels open already"))
        else:
            try:
                name, value, *_ = unpack(body[NUMBER_SIZE:])
                request = self._codec.from_wire(name, value)
            except (UnknownMessage, ValueError, TypeError) as error:
                stream.refuse(_refusal(error))
            else:
                self._start(self._answer, lane.peer, stream, request, self._on_tunnel)

    async def _answer(self, peer: Peer, stream: TunnelStream, request: object, on_tunnel: OnTunnel) -> None:
        deadline = anyio.current_time() + self._settings.tunnel_timeout
        with anyio.CancelScope(deadline=deadline) as scope:
            stream.answering = scope.cancel
            try:
                target = await on_tunnel(peer, request)
                scope.deadline = math.inf
                await splice(stream, target)
            except (TunnelRefused, OSError) as error:
                stream.refuse(_refusal(error))
            except Exception as error:  # noqa: BLE001 - a bug of the hook costs that stream
                log.error("transport.tunnel_failed", peer=peer.node, error=repr(error)[:500])  # noqa: TRY400 - bounded
                stream.refuse(TunnelRefused(f"it could not be opened: {type(error).__name__}"))
        if scope.cancelled_caught:
            stream.refuse(TunnelRefused("it could not be opened in time"))


def _refusal(error: Exception) -> TunnelRefused:
    if isinstance(error, TunnelRefused):
        return error
    if isinstance(error, OSError) and is_out_of_descriptors(error):
        return NodeFull(explain(error))
    return TunnelRefused(str(error) or type(error).__name__)
