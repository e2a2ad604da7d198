"""One direction of a simulated TCP connection: a kernel's send buffer, a wire, another kernel's buffer.

Bytes arrive once and in order, cut into segments and merged again at random, as fast as the path allows. What
a path swallows while it is stalled is sent again when it is open; nothing is ever reordered or duplicated.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field

from .sim_agenda import Agenda

FIN: Final = b""
SEGMENT: Final = 64 * 1024
"""Bytes in one segment at most (as with segmentation offload)."""

RETRANSMIT: Final = 0.05
"""Seconds, at most, after which a sender finds that a stalled path is open again."""


@define(eq=False)
class Path:
    """The way from one host to another.

    Attributes:
        latency: Seconds that every segment takes at least.
        jitter: Mean of what comes on top (exponential).
        bandwidth: Bytes per second of one connection.
        stalled: How many faults swallow everything that is on this way now.
        pipes: The connections' directions that use it.
    """

    latency: float = 0.001
    jitter: float = 0.0005
    bandwidth: float = 100e6
    stalled: int = 0
    pipes: list[Pipe] = field(factory=list, repr=False)

    def delay(self, rng: random.Random) -> float:
        """Draw how long a segment is under way."""
        return self.latency + rng.expovariate(1 / self.jitter) if self.jitter else self.latency


@define(eq=False)
class Pipe:
    """One direction of a connection, see the module.

    Attributes:
        path: The way of the bytes.
        back: The way of their acknowledgements.
        send_buffer: Bytes that the sender may have written and not had acknowledged.
        receive_buffer: Bytes that may be on the wire or unread.
        user_timeout: Seconds without an acknowledgement after which the sender gives the connection up.
        forgotten: A box in the middle has lost this connection: nothing gets through any more.
        deliver: Takes what arrives (``FIN`` for the end); False when nobody is there to take it.
        refused: Called when the other end answered with a reset, or the sender gave up.
        acked: Called when at least a third of the send buffer is free again.
        unread: Tells how many bytes the receiver has not taken.
    """

    agenda: Agenda
    rng: random.Random
    path: Path
    back: Path
    send_buffer: int
    receive_buffer: int
    user_timeout: float
    deliver: Callable[[bytes], bool]
    refused: Callable[[str], None]
    acked: Callable[[], None]
    unread: Callable[[], int]
    forgotten: bool = False
    dead: bool = False
    _unsent: bytearray = field(factory=bytearray)
    _fin: bool = False
    _flying: deque[bytes] = field(factory=deque)
    _in_flight: int = 0
    _round: int = 0
    _last: float = 0.0
    _free: float = 0.0
    _owed: int = 0
    _waiting_since: float | None = None

    def __attrs_post_init__(self) -> None:
        self.path.pipes.append(self)
        self.back.pipes.append(self)

    @property
    def room(self) -> int:
        """How many bytes can be written now."""
        return self.send_buffer - len(self._unsent) - self._in_flight - self._owed

    @property
    def held(self) -> int:
        """How many bytes the sender's kernel keeps."""
        return self.send_buffer - self.room

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes into the send buffer; there must be room."""
        self._unsent += data
        self.pump()

    def finish(self) -> None:
        """Send the end behind everything that was written."""
        self._fin = True
        self.pump()

    def kill(self) -> None:
        """Forget everything."""
        self.dead = True
        self._round += 1
        self._unsent.clear()
        self._flying.clear()
        self._in_flight = self._owed = 0
        for path in (self.path, self.back):
            if self in path.pipes:
                path.pipes.remove(self)

    def pump(self) -> None:
        """Put on the wire what may be there."""
        if self.dead:
            return
        self._watch()
        if self.path.stalled or self.forgotten:
            return
        while self._unsent:
            window = self.receive_buffer - self._in_flight - self.unread()
            size = min(len(self._unsent), window, SEGMENT)
            if size < min(len(self._unsent), self.receive_buffer // 4):
                return  # no crumbs for a window that has just opened (RFC 9293, 3.8.6.2.1)
            if self.rng.random() < 0.3:
                size = self.rng.randint(1, size)
            segment = bytes(self._unsent[:size])
            del self._unsent[:size]
            self._launch(segment)
        if self._fin:
            self._fin = False
            self._launch(FIN)

    def refused_later(self, reason: str) -> None:
        """Let a reset travel back to the sender; a stalled way swallows it for good."""

        def arrive() -> None:
            if not (self.back.stalled or self.forgotten):
                self.refused(reason)

        self.agenda.after(self.back.delay(self.rng), arrive)

    def acknowledge(self) -> None:
        """Let the sender learn what has arrived, if the way back is open."""
        if self._owed and not self.back.stalled and not self.forgotten:
            self._owed = 0
            self._waiting_since = None
            self._watch()
            if self.room >= self.send_buffer // 3:  # as Linux reports a socket to be writable
                self.acked()

    def _launch(self, segment: bytes) -> None:
        now = self.agenda.now()
        self._free = max(self._free, now) + len(segment) / self.path.bandwidth
        self._last = max(self._last + 1e-7, self._free + self.path.delay(self.rng))
        self._flying.append(segment)
        self._in_flight += len(segment)
        this_round = self._round
        self.agenda.after(self._last - now, lambda: self._arrive(this_round))

    def _arrive(self, this_round: int) -> None:
        if this_round != self._round:
            return
        if self.path.stalled or self.forgotten:
            self._swallowed()
            return
        segment = self._flying.popleft()
        if not self.deliver(segment):
            self._in_flight -= len(segment)
            self.refused_later("reset by the other end")
            return
        self._in_flight -= len(segment)
        self._owed += len(segment)
        self.acknowledge()

    def _swallowed(self) -> None:
        """Everything under way is lost, and will be sent again."""
        self._round += 1
        self._fin = self._fin or bool(self._flying and self._flying[-1] == FIN)
        self._unsent[:0] = b"".join(self._flying)
        self._flying.clear()
        self._in_flight = 0

    def _watch(self) -> None:
        """Begin to count the time without an acknowledgement, where one is owed."""
        if self._waiting_since is None and self.held and not self.dead:
            self._waiting_since = since = self.agenda.now()
            self.agenda.after(self.user_timeout, lambda: self._give_up(since))

    def _give_up(self, since: float) -> None:
        if self._waiting_since == since and not self.dead and self.held:
            self.refused("timed out: nothing was acknowledged")
