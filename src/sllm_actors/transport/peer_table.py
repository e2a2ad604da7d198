"""Who this node is in its present life, whom it is linked with, and whom that life has declared down."""

from __future__ import annotations

import anyio

from sllm_actors.actors.identity import Incarnation, NodeId

from .admission import Admission, Known, admit
from .hello import Code, Hello, Lane
from .identification import Identification
from .link import LinkState
from .peer import NodeIdentity
from .peer_link import PeerLink
from .settings import TransportSettings

DEAD_LIMIT = 4096
"""Nodes of which the latest life that was declared down is remembered; beyond it, the oldest entry goes."""


class PeerTable:
    """The links of one node and what its next hello says.

    Attributes:
        identity: This node in its present life.
        identification: How it shows that, and whom it believes.
        links: By node id.
    """

    def __init__(
        self, identity: NodeIdentity, settings: TransportSettings, identification: Identification
    ) -> None:
        self.identity = identity
        self.identification = identification
        self.links: dict[NodeId, PeerLink] = {}
        self._settings = settings
        self._previous: Incarnation | None = None
        self._dead: dict[NodeId, Incarnation] = {}
        self._ticked: float | None = None
        self._stale_until = float("-inf")

    def ticked(self, now: float, late: float) -> None:
        """Note that the clock has ticked, so many seconds late because this process stood still."""
        self._ticked = now
        if late >= self._longest_stop:
            self._stale_until = now + self._settings.budget

    def hello(self, lane: Lane, nonce: bytes, *, epoch: int = 0) -> Hello:
        """Return what this node says of itself now."""
        me = self.identity
        return Hello(
            cluster=me.cluster,
            node=me.node,
            role=me.role,
            incarnation=me.incarnation,
            previous=self._previous,
            lane=lane,
            nonce=nonce,
            public_key=self.identification.key.public_key,
            credential=self.identification.shown(me),
            links=self._links_up(),
            epoch=epoch,
            window=self._settings.window,
            max_message=self._settings.max_message,
        )

    def judge(self, me: NodeIdentity, peer: Hello, *, dialled: bool) -> Admission:
        """Judge a lane whose handshake began when this node was ``me``."""
        if me is not self.identity:
            return Admission(Code.BUSY, "it has just taken a new life; try again")
        return admit(me, peer, self._known(peer.node), self._dead.get(peer.node), dialled=dialled)

    def linked(self, host: str) -> int:
        """Return how many peers at a host are linked with this node."""
        return sum(link.peer.host == host and link.life.announced for link in self.links.values())

    def remove(self, link: PeerLink) -> None:
        """Take a link out that is down: its two lives never meet again."""
        node = link.peer.node
        if self.links.get(node) is link:
            del self.links[node]
        if len(self._dead) >= DEAD_LIMIT:
            del self._dead[next(iter(self._dead))]
        self._dead[node] = max(link.peer.incarnation, self._dead.get(node, link.peer.incarnation))

    def rebirth(self, incarnation: Incarnation) -> None:
        """Take a later life; all links must be down already. Nobody has been declared down in it yet."""
        self._previous = self.identity.incarnation
        self.identity = self.identity.reborn(incarnation)
        self._dead.clear()

    def _links_up(self) -> int:
        """Return how many links are up; 0 where that is old news, because this process has just stood still.

        Whoever stood still has been declared down by everybody else, and does not know it yet. It must not be
        the one that stays: all others would begin later lives, and lose each other.
        """
        now = anyio.current_time()
        overdue = self._ticked is not None and now - self._ticked >= self._longest_stop
        if overdue or now < self._stale_until:
            return 0
        return sum(link.life.state is LinkState.UP for link in self.links.values())

    @property
    def _longest_stop(self) -> float:
        return self._settings.budget / 2

    def _known(self, node: NodeId) -> Known | None:
        link = self.links.get(node)
        if link is None:
            return None
        quiet = anyio.current_time() - link.life.heard
        return Known(
            incarnation=link.peer.incarnation,
            up=link.life.announced,
            control_open=link.control is not None and not link.control.closed,
            outbound=link.outbound,
            lively=quiet < 3 * self._settings.heartbeat,
            data_epoch=link.epoch,
            public_key=link.peer.public_key,
        )
