"""A picture of the transport at one moment."""

from __future__ import annotations

import anyio
from attrs import frozen

from .peer import Peer
from .peer_link import PeerLink


@frozen
class LinkStatistics:
    """One link.

    Attributes:
        state: ``connecting``, ``up``, ``suspect`` or ``down``.
        sent: User messages, asks and outcomes queued for the peer.
        received: The same, from the peer.
        late: Outcomes that found nobody waiting.
        not_allowed: Messages of the peer that were not taken, by its role or its node id.
        asks: Asks that wait for their outcome now.
        in_flight: Bytes on the data lane that the peer has not reported as consumed.
        queued: Bytes that wait for the data lane's window.
        unacknowledged: Control messages that wait for their acknowledgement.
        epoch: How many data lanes there have been.
        silent: Seconds since the peer was heard last on its control lane, as of the last tick of the clock.
    """

    peer: Peer
    state: str
    sent: int
    received: int
    late: int
    not_allowed: int
    asks: int
    in_flight: int
    queued: int
    unacknowledged: int
    epoch: int
    silent: float


@frozen
class TransportStatistics:
    """All links, and what the transport has counted since it was made.

    Attributes:
        tunnels: Streams open now, of both directions.
        tunnel_lanes: The connections that carry them.
        tunnel_bytes: Bytes of them that wait here to be sent or to be read.
        connections: Accepted and open now.
        handshakes: Of those, not finished with their handshake.
        turned_away: Connections closed because a bound was reached.
        refused: Accepted connections whose handshake came to nothing.
        refusals: How many of those there were, by why: the codes of ``hello.Code``, or ``silent``.
        lost: Links that are down.
        lives: How often this node has taken a new life without a restart.
        stood_still: Seconds for which this process did not run when it should have.
        hook_failures: How often a hook has raised.
    """

    links: tuple[LinkStatistics, ...]
    tunnels: int
    tunnel_lanes: int
    tunnel_bytes: int
    connections: int
    handshakes: int
    turned_away: int
    refused: int
    refusals: dict[str, int]
    lost: int
    lives: int
    stood_still: float
    hook_failures: int


def link_statistics(link: PeerLink) -> LinkStatistics:
    """Return the picture of one link."""
    lane = link.open_lane
    return LinkStatistics(
        peer=link.peer,
        state=link.life.state.name.lower(),
        sent=link.counts.sent,
        received=link.counts.received,
        late=link.counts.late,
        not_allowed=link.counts.not_allowed,
        asks=lane.waiting if lane else 0,
        in_flight=lane.outbox.in_flight if lane else 0,
        queued=lane.outbox.queued_bytes if lane else 0,
        unacknowledged=link.unacknowledged,
        epoch=link.epoch,
        silent=max(0.0, anyio.current_time() - link.life.heard),
    )
