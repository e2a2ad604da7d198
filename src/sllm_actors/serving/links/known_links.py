"""Which links an actor has heard of, and what news of links it has missed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.actors import NodeId
from sllm_actors.transport import Peer

LOOK_INTERVAL = 1.0
"""Seconds between two looks at who is linked."""


class KnownLinks:
    """The links that an actor knows of. News of a link that does not fit into a full mailbox is lost: so the
    actor looks at who is linked from time to time, too.
    """

    def __init__(self) -> None:
        self._peers: dict[NodeId, Peer] = {}

    def up(self, peer: Peer) -> None:
        """Note that a link has come up."""
        self._peers[peer.node] = peer

    def lost(self, peer: Peer) -> bool:
        """Note that a link was lost; return False if a later life of the node is known to be linked."""
        known = self._peers.get(peer.node)
        if known is None or known.incarnation == peer.incarnation:
            self._peers.pop(peer.node, None)
            return True
        return False

    def missed(self, peers: Iterable[Peer]) -> tuple[list[Peer], list[Peer]]:
        """Return the links that are known and no longer there, and those that are there and not known.

        Args:
            peers: The nodes that are linked now.
        """
        linked = {peer.node: peer for peer in peers}
        gone, new = [], []
        for node, peer in self._peers.items():
            now = linked.get(node)
            if now is None or now.incarnation != peer.incarnation:
                gone.append(peer)
        for peer in linked.values():
            known = self._peers.get(peer.node)
            if known is None or known.incarnation != peer.incarnation:
                new.append(peer)
        return gone, new
