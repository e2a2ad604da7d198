"""The reliable half of a link: control messages are numbered, acknowledged, resent and deduplicated.

One ``ControlSession`` lives as long as the pair of node lives that it joins, over any number of connections.
Without I/O: it returns frames to send and says what is new. A peer that lets too much pile up is given up
(Artery's rule): losing control messages silently is not an option.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from .errors import RemoteProtocolError
from .frame import ACK, HEARTBEAT, SEQUENCED, Body, encode

_SEQ: Final = struct.Struct("!QB")
_ACK: Final = struct.Struct("!Q")

# What a sequenced frame can carry.
MONITOR: Final = 1
DEMONITOR: Final = 2
DOWN: Final = 3
TUNNEL_CALL: Final = 4
LANE_LOST: Final = 128  # kinds from 128 on are skipped by versions that do not know them


class ControlOverflow(Exception):
    """More is unacknowledged than the bound allows: the peer must be declared down."""


class ControlSession:
    """Numbers what goes out, forgets what is acknowledged, and tells new from repeated.

    Args:
        max_messages: How many messages may be unacknowledged.
        max_bytes: How many bytes their frames may have together.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._unacknowledged: deque[bytes] = deque()
        self._bytes = 0
        self._sent = 0
        self._received = 0
        self._reported = 0

    @property
    def unacknowledged(self) -> int:
        """How many messages the peer has not acknowledged."""
        return len(self._unacknowledged)

    def send(self, kind: int, body: bytes) -> bytes:
        """Number a message, keep it until it is acknowledged, and return its frame.

        Raises:
            ControlOverflow: The bound is reached; nothing was kept.
        """
        frame = encode(SEQUENCED, _SEQ.pack(self._sent + 1, kind) + body)
        if len(self._unacknowledged) >= self._max_messages or self._bytes + len(frame) > self._max_bytes:
            raise ControlOverflow
        self._sent += 1
        self._unacknowledged.append(frame)
        self._bytes += len(frame)
        return frame

    def resend(self) -> list[bytes]:
        """Return, for a new connection, the frames of everything that is not acknowledged, in order."""
        return list(self._unacknowledged)

    def receive(self, body: Body) -> tuple[int, Body] | None:
        """Take the body of a sequenced frame: its kind and content, or None for a repetition.

        Raises:
            RemoteProtocolError: A number is missing before it, or it is too short.
        """
        if len(body) < _SEQ.size:
            raise RemoteProtocolError("a control message is too short")
        seq, kind = _SEQ.unpack_from(body)
        if seq <= self._received:
            return None
        if seq != self._received + 1:
            raise RemoteProtocolError(f"control message {seq} came after {self._received}")
        self._received = seq
        return kind, body[_SEQ.size :]

    def acknowledged(self, body: Body) -> None:
        """Take the body of an acknowledgement or heartbeat: everything up to that number has arrived.

        Raises:
            RemoteProtocolError: The frame acknowledges a message that was never sent, or is too short.
        """
        if len(body) < _ACK.size:
            raise RemoteProtocolError("an acknowledgement is too short")
        (seq,) = _ACK.unpack_from(body)
        if seq > self._sent:
            raise RemoteProtocolError(f"control message {seq} is acknowledged, {self._sent} were sent")
        # The messages kept are numbered from sent - kept + 1; an old acknowledgement changes nothing.
        for _ in range(seq - (self._sent - len(self._unacknowledged))):
            self._bytes -= len(self._unacknowledged.popleft())

    def acknowledge(self) -> bytes | None:
        """Return the frame that acknowledges what has come since the last one, if anything has."""
        if self._reported == self._received:
            return None
        self._reported = self._received
        return encode(ACK, _ACK.pack(self._received))

    def heartbeat(self) -> bytes:
        """Return a heartbeat, which acknowledges as well."""
        self._reported = self._received
        return encode(HEARTBEAT, _ACK.pack(self._received))
