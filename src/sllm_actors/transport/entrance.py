"""The way in: shakes hands with whoever connects, and stays with the connection until it ends."""

from __future__ import annotations

import anyio
import structlog
from anyio.abc import ByteStream

from .errors import HandshakeFailed
from .hello import Lane
from .lane_attacher import LaneAttacher
from .lane_opener import LaneOpener
from .listener import Doorman
from .peer_table import PeerTable
from .refusal_log import RefusalLog
from .sockets import remote_host
from .streams import TunnelBroker

log = structlog.get_logger("sllm_actors.transport")


class Entrance:
    """Gives each connection that comes in to the link with its peer, or refuses it; ``Dial`` is the way out.

    Args:
        doorman: Counts the handshakes.
        opener: Shakes hands.
        peer_table: The links.
        attacher: Takes control and data lanes.
        tunnels: Take tunnel lanes.

    Attributes:
        refusals: The connections that were refused.
    """

    def __init__(
        self,
        doorman: Doorman,
        opener: LaneOpener,
        peer_table: PeerTable,
        attacher: LaneAttacher,
        tunnels: TunnelBroker,
    ) -> None:
        self.refusals = RefusalLog()
        self._doorman = doorman
        self._opener = opener
        self._peer_table = peer_table
        self._attacher = attacher
        self._tunnels = tunnels

    async def accept(self, stream: ByteStream) -> None:
        """Let one connection in and stay with it until it ends.

        A failure that nobody has foreseen is logged and ends this connection, not the node.
        """
        try:
            await self._let_in(stream)
        except Exception as error:  # noqa: BLE001 - it costs this connection alone
            log.error("transport.connection_failed", error=repr(error)[:500])  # noqa: TRY400 - bounded
            await anyio.aclose_forcefully(stream)

    async def _let_in(self, stream: ByteStream) -> None:
        try:
            with self._doorman.handshake(remote_host(stream)):
                opened = await self._opener.accept(stream)
        except (TimeoutError, HandshakeFailed, OSError) as error:
            self._log_refusal(remote_host(stream), error)
            return
        # What a data or tunnel lane needs was judged a moment ago, and nothing has run since.
        links, node = self._peer_table.links, opened.hello.node
        match opened.hello.lane:
            case Lane.CONTROL:
                link, connection = self._attacher.attach_control(opened)
                link.control_closed(connection, await connection.run())
            case Lane.DATA:
                lane = self._attacher.attach_data(opened, link := links[node])
                link.data_closed(lane, await lane.connection.run())
            case Lane.TUNNEL:
                await self._tunnels.arrived(links[node], opened)

    def _log_refusal(self, host: str, error: Exception) -> None:
        kind = str(error.code) if isinstance(error, HandshakeFailed) else "silent"
        times = self.refusals.note(host, kind, anyio.current_time())
        if times:
            reason = str(error) or "it did not finish the handshake in time"
            so_far = self.refusals.counts.total()
            log.info("transport.turned_away", host=host, kind=kind, reason=reason, times=times, so_far=so_far)
