"""What becomes of a lane whose handshake is done: it is attached to the link with its peer."""

from __future__ import annotations

from collections.abc import Callable

from sllm_actors.actors.identity import Address
from sllm_actors.actors.network import Inbound

from .codec import Codec
from .connection import Connection
from .data_lane import DataLane
from .envelope import EnvelopeCoder
from .lane_opener import OpenedLane
from .peer import Peer
from .peer_link import OnNews, PeerLink, goodbye
from .peer_table import PeerTable
from .settings import TransportSettings
from .sockets import limit_silence


class LaneAttacher:
    """Attaches control and data lanes to links; the first control lane of a peer makes its link.

    Args:
        peer_table: Gets the links that are made.
        settings: Clocks and bounds.
        codec: The messages.
        inbound: The actor system.
        on_news: Told what becomes of the peers.
        on_call: Called with each link whose peer asks this node for a tunnel lane.
    """

    def __init__(
        self,
        peer_table: PeerTable,
        settings: TransportSettings,
        *,
        codec: Codec,
        inbound: Inbound,
        on_news: OnNews,
        on_call: Callable[[PeerLink], None],
    ) -> None:
        self._peer_table = peer_table
        self._settings = settings
        self._codec = codec
        self._inbound = inbound
        self._on_news = on_news
        self._on_call = on_call

    def attach_control(self, opened: OpenedLane) -> tuple[PeerLink, Connection]:
        """Give a control lane to the link with its peer, which is made if there is none.

        A link with an earlier life of the peer ends. The caller runs the connection, and tells the link of
        its end.
        """
        limit_silence(opened.stream, self._settings.budget)
        hello = opened.hello
        link = self._peer_table.links.get(hello.node)
        if link is not None and link.peer.incarnation != hello.incarnation:
            link.apply(link.life.ended(f"{hello.node} has come back in a later life"))
            link = None
        if link is None:
            link = self._new_link(opened)
            self._peer_table.links[hello.node] = link
        if opened.address is not None:
            link.address = opened.address
        connection = Connection(
            opened.stream,
            opened.rest,
            link.on_control_frames,
            farewell=goodbye("it stops"),
            farewell_timeout=self._settings.goodbye_timeout,
        )
        link.open_control(connection, outbound=opened.address is not None)
        return link, connection

    def attach_data(self, opened: OpenedLane, link: PeerLink) -> DataLane:
        """Give a data lane to a link. The caller runs its connection, and tells the link of its end."""
        limit_silence(opened.stream, self._settings.budget)
        lane = DataLane(
            opened.stream,
            opened.rest,
            peer=link.peer,
            hello=opened.hello,
            epoch=opened.epoch,
            coder=link.coder,
            inbound=self._inbound,
            settings=self._settings,
            counts=link.counts,
            progressed=link.progressed,
        )
        link.open_data(lane)
        return lane

    def _new_link(self, opened: OpenedLane) -> PeerLink:
        me, hello = self._peer_table.identity, opened.hello
        return PeerLink(
            Peer(
                hello.node,
                hello.role,
                hello.incarnation,
                opened.host,
                opened.address is not None,
                hello.public_key,
                bool(hello.credential),
            ),
            local=Address(me.node, me.incarnation, 0),
            coder=EnvelopeCoder(
                self._codec, (me.node, me.incarnation), (hello.node, hello.incarnation), hello.role
            ),
            inbound=self._inbound,
            settings=self._settings,
            on_news=self._on_news,
            on_call=self._on_call,
        )
