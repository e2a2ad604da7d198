"""Ties the wire to the actor system: one task group, the methods of ``actors.network``, and news of peers."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import anyio
import structlog
from anyio.abc import ByteStream, TaskGroup

from sllm_actors.actors.errors import PeerDown
from sllm_actors.actors.exits import GONE, NodeDown
from sllm_actors.actors.identity import Address, Incarnation, NodeId
from sllm_actors.actors.message import Catalog
from sllm_actors.actors.network import Envelope, Inbound, ReplyTo

from .announcements import Announcements
from .codec import Codec, Hooks, is_key
from .data_lane import DataLane
from .dialer import Dial
from .entrance import Entrance
from .identification import Identification
from .lane_attacher import LaneAttacher
from .lane_opener import Connect, LaneOpener
from .link import Announce, Doubt, Effect, Lose, Trust
from .listener import Doorman, accept_forever
from .peer import (
    NodeHello,
    NodeIdentity,
    NoLink,
    Peer,
    PeerDoubted,
    PeerLost,
    PeerTrusted,
    PeerUp,
    Verdict,
)
from .peer_link import PeerLink
from .peer_table import PeerTable
from .settings import TransportSettings
from .sockets import connect
from .statistics import TransportStatistics, link_statistics
from .streams import OnTunnel, TunnelBroker, TunnelStream
from .ticker import tick_forever
from .tls import TlsContexts

log = structlog.get_logger("sllm_actors.transport")


class Transport:
    """Carries the actor system's messages to other nodes; an async context manager that owns all its tasks.

    Implements ``actors.network.Network``. Everything runs in the event loop's thread.

    Args:
        identity: This node, in the life that it begins with.
        secret: The cluster secret; it never leaves the process and is never logged.
        identification: How this node proves who it is, and whom it believes.
        catalog: The closed set of messages.
        inbound: The actor system.
        on_peer: Told of each peer that comes up and is lost, after the actor system. Must not raise: what it
            raises is logged and counted. If it raises for a ``PeerUp``, it would never learn of that peer: so
            the link ends, and the next link with the peer is announced again.
        next_incarnation: Makes (and persists) a later life of this node, when a peer had declared it down.
        settings: Clocks and bounds.
        on_tunnel: Opens what a peer's tunnel request names.
        accept: Judges a peer that has proved who it is, for every lane that it opens. What it raises is
            logged, and refuses the peer.
        on_doubt: Told of each peer that is doubted, and then of its return; see ``PeerDoubted``. Must not
            raise, as ``on_peer``.
        on_no_link: Told why a dialled address gives no link, once per change. Must not raise, as ``on_peer``.
        hooks: Conversions of types that only the node knows, as of ``ActorRef``.
        tls: The TLS contexts for every connection; None for plain TCP.
        connect: Opens byte streams; a simulation gives another one than TCP's.
        rng: For jitter. (Nonces and tokens are always the operating system's.)
    """

    def __init__(
        self,
        identity: NodeIdentity,
        *,
        secret: bytes,
        identification: Identification,
        catalog: Catalog,
        inbound: Inbound,
        on_peer: Callable[[PeerUp | PeerLost], None],
        next_incarnation: Callable[[], Incarnation],
        settings: TransportSettings | None = None,
        on_tunnel: OnTunnel | None = None,
        accept: Callable[[NodeHello], Verdict] | None = None,
        on_doubt: Callable[[PeerDoubted | PeerTrusted], None] | None = None,
        on_no_link: Callable[[NoLink], None] | None = None,
        hooks: Hooks | None = None,
        tls: TlsContexts | None = None,
        connect: Connect = connect,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings or TransportSettings()
        self._inbound = inbound
        self._announce = Announcements(on_peer, on_doubt, on_no_link)
        self._next_incarnation = next_incarnation
        codec = Codec(catalog, hooks)
        self._peer_table = PeerTable(identity, self.settings, identification)
        self._doorman = Doorman(self.settings, self._peer_table.linked)
        self._opener = LaneOpener(
            self._peer_table,
            self.settings,
            secret=secret,
            accept=accept,
            tls=tls,
            connect=connect,
            must_return=self._return,
        )
        self._random = rng or random.Random()  # noqa: S311 - jitter
        self._dials: set[Dial] = set()
        self._group: TaskGroup | None = None
        self._tunnels = TunnelBroker(self._opener, codec, self.settings, on_tunnel, self._start)
        self._attacher = LaneAttacher(
            self._peer_table,
            self.settings,
            codec=codec,
            inbound=inbound,
            on_news=self._news,
            on_call=self._tunnels.called,
        )
        self._entrance = Entrance(
            self._doorman, self._opener, self._peer_table, self._attacher, self._tunnels
        )
        self._lost = 0
        self._lives = 0
        self._stood_still = 0.0

    @property
    def identity(self) -> NodeIdentity:
        """This node in its present life."""
        return self._peer_table.identity

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(
            tick_forever, self.settings.heartbeat, self._peer_table.links.values, self._ticked
        )
        return self

    @property
    def _tasks(self) -> TaskGroup:
        if self._group is None:
            raise RuntimeError("enter the transport first: it is an async context manager")
        return self._group

    def _start(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        self._tasks.start_soon(work, *arguments)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        tasks = self._tasks
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, trace)
        finally:
            self._end_links("this node has stopped")
            self._tunnels.stop()

    async def serve(self, listeners: list[socket.socket]) -> None:
        """Accept peers on bound sockets until cancelled; the sockets are closed then, links stay."""
        tasks = self._tasks
        async with anyio.create_task_group() as accepting:
            for raw in listeners:
                accepting.start_soon(accept_forever, raw, self._doorman, tasks, self.accept)

    def dial(self, host: str, port: int, role: str | None = None) -> Dial:
        """Keep a link to whoever answers there, dialling again with back-off, until the dial is closed.

        Args:
            host: A name or an address.
            port: The port there.
            role: The role that must answer there, or there is no link; None for any.
        """
        tasks = self._tasks
        dial = Dial(
            host,
            port,
            opener=self._opener,
            settings=self.settings,
            chance=self._random.random,
            attach_control=self._attacher.attach_control,
            attach_data=self._attacher.attach_data,
            report=self._announce.no_link,
            role=role,
        )
        self._dials.add(dial)
        tasks.start_soon(self._run_dial, dial)
        return dial

    def peers(self) -> tuple[Peer, ...]:
        """Return the peers that are up (or in doubt, but not yet lost), by node id."""
        return tuple(link.peer for _, link in sorted(self._peer_table.links.items()) if link.life.announced)

    def doubted(self) -> frozenset[NodeId]:
        """Return the nodes of those peers that are doubted now; see ``PeerDoubted``."""
        links = self._peer_table.links.values()
        return frozenset(link.peer.node for link in links if link.life.doubted and not link.down)

    def statistics(self) -> TransportStatistics:
        """Return a picture of every link and of the counters."""
        links = self._peer_table.links
        return TransportStatistics(
            links=tuple(link_statistics(links[node]) for node in sorted(links)),
            tunnels=self._tunnels.open,
            tunnel_lanes=self._tunnels.lanes,
            tunnel_bytes=self._tunnels.buffered,
            connections=self._doorman.open,
            handshakes=self._doorman.shaking,
            turned_away=self._doorman.turned_away,
            refused=self._entrance.refusals.counts.total(),
            refusals=dict(self._entrance.refusals.counts),
            lost=self._lost,
            lives=self._lives,
            stood_still=self._stood_still,
            hook_failures=self._announce.failures,
        )

    def refusals(self) -> dict[str, int]:
        """Return how many connections were refused, by why; without what nodes that belong here get over."""
        return self._entrance.refusals.lasting()

    @property
    def tunnel_bytes(self) -> int:
        """Bytes of all streams that wait here to be sent or to be read; cheap to ask."""
        return self._tunnels.buffered

    # -- actors.network.Network ------------------------------------------------------------------

    def tell(self, envelope: Envelope) -> None:
        """Send at most once; what cannot be sent is a dead letter."""
        lane = self._lane(envelope.target)
        if isinstance(lane, str):
            self._inbound.dead_letter(envelope, lane)
        else:
            lane.tell(envelope)

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        """Send, and call ``reply_to`` once with the outcome: before returning, if there is no way to send."""
        lane = self._lane(envelope.target)
        if isinstance(lane, str):
            reply_to(PeerDown(envelope.target.node, lane))
            return lambda: None
        return lane.ask(envelope, reply_to)

    def monitor(self, target: Address, watch: int) -> None:
        """Ask for a down signal: it comes before this returns when the target's life is not linked."""
        link = self._link(target)
        if isinstance(link, str):
            self._inbound.on_down(target.node, watch, str(NodeDown(link)))
        elif not is_key(target.key):
            self._inbound.on_down(target.node, watch, str(GONE))
        else:
            link.monitor(target.key, watch)

    def demonitor(self, target: Address, watch: int) -> None:
        """Take a ``monitor`` back."""
        link = self._link(target)
        if isinstance(link, PeerLink):
            link.demonitor(target.key, watch)

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        """Send a down signal behind every message sent to that peer before; nothing if the peer is down."""
        link = self._peer_table.links.get(peer)
        if link is not None:
            link.signal_down(watch, reason)

    # -- tunnels ---------------------------------------------------------------------------------

    def open_stream(
        self,
        node: NodeId,
        request: object,
        protocol: asyncio.Protocol,
        on_accepted: Callable[[], None] | None = None,
    ) -> TunnelStream:
        """Open a stream of bytes to what ``request`` (a message of the catalog) names at that node.

        It returns at once: bytes may be written before the node has answered. See ``TunnelStream`` for what
        the protocol is told, and how a refusal or a loss reaches it.

        Args:
            node: The node, which must be linked.
            request: The message.
            protocol: Gets the stream before this returns (``connection_made``).
            on_accepted: Called once the node has accepted.

        Raises:
            PeerDown: There is no link to the node.
            NodeFull: This node has no room for one more stream.
            UnknownMessage: The request is not in the catalog.
            ValueError: The request is longer than 16 KiB.
        """
        link = self._link(Address(node, None, ""))
        if isinstance(link, str):
            raise PeerDown(node, link)
        return self._tunnels.open_stream(link, request, protocol, on_accepted)

    # -- links -----------------------------------------------------------------------------------

    def _link(self, target: Address) -> PeerLink | str:
        link = self._peer_table.links.get(target.node)
        if link is None or not link.life.announced:
            return f"no link to {target.node}"
        if target.incarnation is not None and target.incarnation != link.peer.incarnation:
            return f"{target.node} is in a later life than the address"
        return link

    def _lane(self, target: Address) -> DataLane | str:
        link = self._link(target)
        if isinstance(link, str):
            return link
        return link.open_lane or f"the data lane to {target.node} is lost"

    def _news(self, link: PeerLink, news: Effect) -> None:
        match news:
            case Announce():
                if not self._announce.up(link.peer):
                    self._start(_end_link, link, "this node failed to take note of it, see its log")
            case Doubt(reason):
                self._announce.doubted(link.peer, reason)
            case Trust():
                self._announce.trusted(link.peer)
            case Lose():
                self._peer_lost(link, news)

    def _peer_lost(self, link: PeerLink, lost: Lose) -> None:
        peer, reason = link.peer, lost.reason
        self._peer_table.remove(link)
        self._lost += 1
        self._tunnels.lost(link, reason, severed=lost.severed)
        # Even a link that was never announced may have carried a monitor.
        self._inbound.on_peer_down(peer.node, peer.incarnation, reason)
        if link.life.announced:
            self._announce.lost(peer, lost)

    def _return(self, reason: str) -> None:
        """Take a later life: a peer had declared the present one down, so nobody may count on it any more."""
        try:
            incarnation = self._next_incarnation()
        except OSError as error:
            log.error("transport.cannot_return", error=str(error))  # noqa: TRY400 - a full disk is no bug
            return
        log.warning("transport.returns", incarnation=str(incarnation), reason=reason)
        self._end_links(f"this node returns in a later life, because {reason}")
        self._peer_table.rebirth(incarnation)
        self._lives += 1

    def _end_links(self, reason: str) -> None:
        for link in list(self._peer_table.links.values()):
            link.apply(link.life.ended(reason))

    # -- tasks -----------------------------------------------------------------------------------

    async def accept(self, stream: ByteStream) -> None:
        """Let one connection in and stay with it until it ends; ``serve`` does this for what it accepts."""
        await self._entrance.accept(stream)

    async def _run_dial(self, dial: Dial) -> None:
        try:
            await dial.run()
        finally:
            self._dials.discard(dial)

    def _ticked(self, now: float, late: float, beat: bool) -> None:
        self._stood_still += late
        self._peer_table.ticked(now, late)
        self._tunnels.tick(now, late, beat=beat)


async def _end_link(link: PeerLink, reason: str) -> None:
    link.apply(link.life.ended(reason))
