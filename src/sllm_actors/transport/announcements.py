"""Tells the node's owner of its peers. What a hook raises costs a line in the log, never a link or a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from .link import Lose
from .peer import NoLink, Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp

log = structlog.get_logger("sllm_actors.transport")


class Announcements:
    """Calls the owner's hooks, and logs what they are told.

    Args:
        on_peer: Told of each peer that comes up and is lost.
        on_doubt: Told of each peer that is doubted, and then of its return.
        on_no_link: Told why a dialled address gives no link.

    Attributes:
        failures: How often a hook has raised.
    """

    def __init__(
        self,
        on_peer: Callable[[PeerUp | PeerLost], None],
        on_doubt: Callable[[PeerDoubted | PeerTrusted], None] | None,
        on_no_link: Callable[[NoLink], None] | None,
    ) -> None:
        self.failures = 0
        self._on_peer = on_peer
        self._on_doubt = on_doubt
        self._on_no_link = on_no_link

    def up(self, peer: Peer) -> bool:
        """Say that a peer is up; return whether the owner has taken note of it."""
        log.info("peer.up", peer=peer.node, incarnation=str(peer.incarnation), host=peer.host)
        return self._tell(self._on_peer, PeerUp(peer))

    def lost(self, peer: Peer, lost: Lose) -> None:
        """Say that a peer which was up is lost."""
        log.info("peer.lost", peer=peer.node, incarnation=str(peer.incarnation), reason=lost.reason)
        self._tell(self._on_peer, PeerLost(peer, lost.reason, left=lost.left))

    def doubted(self, peer: Peer, reason: str) -> None:
        """Say that a peer is doubted."""
        log.info("peer.doubted", peer=peer.node)
        self._tell(self._on_doubt, PeerDoubted(peer, reason))

    def trusted(self, peer: Peer) -> None:
        """Say that a peer is doubted no longer."""
        log.info("peer.trusted", peer=peer.node)
        self._tell(self._on_doubt, PeerTrusted(peer))

    def no_link(self, no_link: NoLink) -> None:
        """Say why a dialled address gives no link."""
        log.info("transport.no_link", address=no_link.address, reason=no_link.reason)
        self._tell(self._on_no_link, no_link)

    def _tell(self, hook: Callable[[Any], None] | None, event: object) -> bool:
        if hook is None:
            return True
        try:
            hook(event)
        except Exception as error:  # noqa: BLE001 - a bug of the hook
            self.failures += 1
            log.error("transport.hook_failed", told=type(event).__name__, error=repr(error)[:500])  # noqa: TRY400 - bounded
            return False
        return True
