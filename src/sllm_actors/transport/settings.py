"""Every clock and every bound of the transport, with its default."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt

from sllm_actors.descriptors import MOST_LANES, MOST_TUNNELS

CHUNK = 64 * 1024
"""Bytes of a data frame's body at most: longer messages travel in parts of this size."""

PARTIAL_MESSAGES = 4
"""How many messages of one data lane may be in the middle of their parts at the same time."""


@frozen
class TransportSettings:
    """Clocks in seconds, sizes in bytes.

    Attributes:
        heartbeat: A heartbeat is sent this often on each control lane.
        missed: A peer that was silent for this many heartbeats is down.
        handshake_timeout: A connection that takes longer for its handshake is closed.
        reconnect_first: The first pause before dialling again; it doubles up to ``reconnect_cap``.
        reconnect_cap: The longest pause before dialling again.
        goodbye_timeout: How long a clean stop waits for its goodbyes to leave.
        max_message: One encoded message at most; a larger one is rejected where it is sent.
        window: Bytes in flight on one data lane at most (in each direction).
        receiver_window: Bytes of those that one receiver may have at most; a chunk of the window stays free
            for the others, whatever is said here. By default two messages of 64 KiB fit, with what stands
            around them: one arrives while the other is handled.
        queue_bytes: Bytes that may wait for a peer's window; beyond it, a message is rejected.
        queue_messages: Messages that may wait for a peer's window.
        receiver_queue_bytes: Bytes of those that may wait for one receiver.
        control_messages: Unacknowledged control messages; beyond it, the peer is declared down.
        control_bytes: Bytes of those.
        max_connections: Accepted connections of all lanes.
        max_handshakes: Accepted connections that have not finished their handshake.
        max_handshakes_per_host: The same, of connections from one address.
        tunnel_timeout: How long it may take to open what a tunnel's request names.
        max_tunnels: Tunnels, of both directions, open or being opened.
        max_lane_streams: Those of them that one lane takes from its peer.
        tunnel_lanes: Tunnel lanes that this node opens to one peer.
    """

    heartbeat: float = field(default=0.5, validator=gt(0))
    missed: int = field(default=6, validator=ge(1))
    handshake_timeout: float = field(default=5.0, validator=gt(0))
    reconnect_first: float = field(default=0.05, validator=gt(0))
    reconnect_cap: float = field(default=1.0, validator=gt(0))
    goodbye_timeout: float = field(default=0.5, validator=ge(0))
    max_message: int = field(default=4 * 1024 * 1024, validator=ge(1024))
    window: int = field(default=256 * 1024, validator=ge(3 * CHUNK))
    receiver_window: int = field(default=132 * 1024, validator=ge(2 * CHUNK))
    queue_bytes: int = field(default=16 * 1024 * 1024, validator=ge(CHUNK))
    queue_messages: int = field(default=65_536, validator=ge(1))
    receiver_queue_bytes: int = field(default=8 * 1024 * 1024, validator=ge(CHUNK))
    control_messages: int = field(default=65_536, validator=ge(1))
    control_bytes: int = field(default=16 * 1024 * 1024, validator=ge(CHUNK))
    tunnel_timeout: float = field(default=30.0, validator=gt(0))
    max_connections: int = field(default=MOST_LANES, validator=ge(1))
    max_handshakes: int = field(default=256, validator=ge(1))
    max_handshakes_per_host: int = field(default=64, validator=ge(1))
    max_tunnels: int = field(default=MOST_TUNNELS, validator=ge(1))
    max_lane_streams: int = field(default=MOST_TUNNELS, validator=ge(1))
    tunnel_lanes: int = field(default=4, validator=ge(1))

    @property
    def budget(self) -> float:
        """Seconds that a peer may be silent, or a lane stay away, before the peer is down."""
        return self.heartbeat * self.missed
