"""Opens tunnels in either direction, whichever node can dial the other; breaks those of a lost peer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import anyio
import structlog
from anyio.abc import ByteStream
from attrs import define, field

from sllm_actors.actors.errors import PeerDown
from sllm_actors.actors.identity import NodeId
from sllm_actors.descriptors import is_out_of_descriptors

from .codec import Codec
from .errors import HandshakeFailed, NodeFull, TunnelRefused
from .hello import Lane
from .lane_opener import LaneOpener, OpenedLane
from .peer import Peer
from .peer_link import PeerLink
from .settings import TransportSettings
from .tunnel import TunnelStream, answer_tunnel, request_tunnel

log = structlog.get_logger("sllm_actors.transport")

OnTunnel = Callable[[Peer, object], Awaitable[ByteStream]]
"""Opens the stream that a peer's request names, or raises ``TunnelRefused``."""


@define(eq=False)
class _Call:
    """A peer has been asked to dial a tunnel lane to this node."""

    link: PeerLink
    answered: anyio.Event = field(factory=anyio.Event)
    opened: list[OpenedLane] = field(factory=list)


class TunnelBroker:
    """The tunnels of one transport.

    Args:
        opener: Opens lanes.
        codec: Writes and reads requests.
        settings: Bounds.
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
        self._calls: dict[bytes, _Call] = {}
        self._requested: dict[TunnelStream, NodeId] = {}
        self._answered: dict[anyio.CancelScope, NodeId] = {}
        self._opening = 0

    @property
    def open(self) -> int:
        """How many tunnels there are, of both directions."""
        return len(self._requested) + len(self._answered)

    @property
    def _full(self) -> bool:
        # Those that are being opened count: a peer can ask for them faster than they can be dialled.
        return self.open + self._opening >= self._settings.max_tunnels

    async def request(self, link: PeerLink, request: object, timeout: float) -> ByteStream:
        """Open a tunnel to what ``request`` names at the peer.

        Raises:
            PeerDown: The peer was lost meanwhile.
            TunnelRefused: The peer said no, or nothing within ``timeout`` seconds.
            NodeFull: This node or the peer has no room for one more tunnel.
            UnknownMessage: The request is not in the catalog.
        """
        if self._full:
            raise NodeFull(f"this node has {self.open + self._opening} tunnels open already")
        self._opening += 1
        try:
            return await self._request(link, request, timeout)
        finally:
            self._opening -= 1

    async def _request(self, link: PeerLink, request: object, timeout: float) -> ByteStream:
        opened: OpenedLane | None = None
        try:
            with anyio.fail_after(timeout):
                if link.outbound and link.address is not None:
                    opened = await self._dial(link, *link.address)
                else:
                    opened = await self._call(link)
                through = await request_tunnel(opened.stream, opened.rest, self._codec, request)
        except BaseException as error:
            if opened is not None:
                await anyio.aclose_forcefully(opened.stream)
            if isinstance(error, TimeoutError):
                raise TunnelRefused(f"{link.peer.node} did not answer within {timeout:g} s") from None
            raise
        if link.down:
            await anyio.aclose_forcefully(opened.stream)
            raise PeerDown(link.peer.node, "it was lost while the tunnel was opened")
        stream = TunnelStream(through, self._forget)
        self._requested[stream] = link.peer.node
        return stream

    def called(self, link: PeerLink, token: bytes) -> None:
        """The peer asks this node to dial a tunnel lane to it; over the bound it gets none."""
        if link.address is not None and not self._full:
            self._opening += 1
            self._start(self._dial_back, link, link.address, token)

    async def arrived(self, link: PeerLink, opened: OpenedLane) -> None:
        """Take a tunnel lane that a peer has dialled; owns its stream."""
        if not opened.token:
            await self._answer(link, opened)
            return
        call = self._calls.pop(opened.token, None)
        if call is None or call.link is not link:
            await anyio.aclose_forcefully(opened.stream)
            return
        call.opened.append(opened)
        call.answered.set()

    def sever(self, node: NodeId, reason: str) -> None:
        """Break the tunnels of a peer that cannot be reached any more.

        A peer that leaves closes its own; one that begins a later life keeps them, like its engines.
        """
        for stream in [each for each, owner in self._requested.items() if owner == node]:
            stream.sever(reason)
        for scope in [each for each, owner in self._answered.items() if owner == node]:
            scope.cancel()

    def _forget(self, stream: TunnelStream) -> None:
        self._requested.pop(stream, None)

    async def _dial(self, link: PeerLink, host: str, port: int) -> OpenedLane:
        try:
            return await self._opener.dial(host, port, Lane.TUNNEL, peer=link.peer)
        except TimeoutError:
            raise TunnelRefused(f"{link.peer.node} did not finish the handshake in time") from None
        except (OSError, HandshakeFailed) as error:
            if is_out_of_descriptors(error):
                raise NodeFull("no file descriptors are left here") from error
            raise TunnelRefused(f"no tunnel lane to {link.peer.node}: {error}") from error

    async def _call(self, link: PeerLink) -> OpenedLane:
        token = secrets.token_bytes(16)
        call = self._calls[token] = _Call(link)
        try:
            link.call_tunnel(token)
            await call.answered.wait()
        except BaseException:
            for opened in call.opened:
                await anyio.aclose_forcefully(opened.stream)
            raise
        finally:
            self._calls.pop(token, None)
        return call.opened[0]

    async def _dial_back(self, link: PeerLink, address: tuple[str, int], token: bytes) -> None:
        try:
            opened = await self._opener.dial(*address, Lane.TUNNEL, token=token, peer=link.peer)
        except (OSError, HandshakeFailed):
            return  # the peer's own deadline ends its wait
        finally:
            self._opening -= 1
        await self._answer(link, opened)

    async def _answer(self, link: PeerLink, opened: OpenedLane) -> None:
        try:
            with anyio.CancelScope() as scope:
                self._answered[scope] = link.peer.node
                try:
                    await answer_tunnel(
                        opened.stream,
                        opened.rest,
                        self._codec,
                        lambda request: self._decide(link.peer, request),
                        self._settings.tunnel_timeout,
                    )
                finally:
                    del self._answered[scope]
        finally:
            await anyio.aclose_forcefully(opened.stream)

    async def _decide(self, peer: Peer, request: object) -> ByteStream:
        if self._on_tunnel is None:
            raise TunnelRefused("this node opens no tunnels")
        if self.open > self._settings.max_tunnels:
            raise NodeFull(f"this node has {self.open} tunnels open already")
        try:
            return await self._on_tunnel(peer, request)
        except (TunnelRefused, OSError):
            raise
        except Exception as error:
            log.error("transport.tunnel_failed", peer=peer.node, error=repr(error)[:500])  # noqa: TRY400 - bounded
            raise TunnelRefused(f"it could not be opened: {type(error).__name__}") from error
