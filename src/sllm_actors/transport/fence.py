"""Holds a down signal back until every message that was sent before it has been delivered.

The signal travels on the control lane and may overtake the data lane. It carries the data lane's epoch and
how many messages had been sent on it; it is due when as many have been delivered here, or when that lane is
lost. Those that wait are kept in the order in which they become due, up to a bound: ten thousand actors may
end behind a bulk transfer, and a peer may lie about what it has sent.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any


class FenceOverflow(Exception):
    """More signals wait than the bound allows: the peer must be declared down, none may be lost silently."""


class Fences:
    """The signals of one link that are not due yet.

    Args:
        max_signals: How many signals may wait.
        max_size: How large the sum of their sizes may be.
    """

    def __init__(self, max_signals: int, max_size: int) -> None:
        self._max_signals = max_signals
        self._max_size = max_size
        self._epoch = 0
        self._open = False
        self._delivered = 0
        self._arrived = 0
        self._size = 0
        self._held: list[tuple[int, int, int, int, Any]] = []

    @property
    def held(self) -> int:
        """How many signals wait."""
        return len(self._held)

    def hold(self, epoch: int, count: int, signal: Any, size: int = 0) -> list[Any]:
        """Take a signal; return it, alone in a list, if it is due already.

        Args:
            epoch: The epoch of the data lane that was open where the signal was sent.
            count: How many messages had been sent on that lane before the signal.
            signal: What is held back.
            size: What it counts towards ``max_size``.

        Raises:
            FenceOverflow: The signal is not due yet, and a bound is reached.
        """
        if self._passed(epoch, count):
            return [signal]
        if len(self._held) >= self._max_signals or self._size + size > self._max_size:
            raise FenceOverflow
        self._arrived += 1
        self._size += size
        heappush(self._held, (epoch, count, self._arrived, size, signal))
        return []

    def delivered(self, total: int) -> list[Any]:
        """Note how many messages of the present lane have been delivered; return the signals now due."""
        self._delivered = total
        return self._due()

    def opened(self, epoch: int) -> list[Any]:
        """Note that this data lane is open and the one before it lost; return the signals now due."""
        self._epoch, self._open, self._delivered = epoch, True, 0
        return self._due()

    def closed(self) -> list[Any]:
        """Note that the present lane is lost; return the signals now due."""
        self._open = False
        return self._due()

    def ended(self) -> list[Any]:
        """The peer is lost: return all that is left."""
        left, self._held, self._size = sorted(self._held), [], 0
        return [signal for *_, signal in left]

    def _due(self) -> list[Any]:
        due = []
        while self._held and self._passed(*self._held[0][:2]):
            *_, size, signal = heappop(self._held)
            self._size -= size
            due.append(signal)
        return due

    def _passed(self, epoch: int, count: int) -> bool:
        if epoch != self._epoch:
            return epoch < self._epoch
        return not self._open or count <= self._delivered
