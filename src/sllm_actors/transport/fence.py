"""Holds a down signal back until every message that was sent before it has been delivered.

The signal travels on the control lane and may overtake the data lane. It carries the data lane's epoch and
how many messages had been sent on it; it is due when as many have been delivered here, or when that lane is
lost.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class _Held:
    epoch: int
    count: int
    signal: Any


class Fences:
    """The signals of one link that are not due yet."""

    def __init__(self) -> None:
        self._epoch = 0
        self._open = False
        self._delivered = 0
        self._held: list[_Held] = []

    @property
    def held(self) -> int:
        """How many signals wait."""
        return len(self._held)

    def hold(self, epoch: int, count: int, signal: Any) -> list[Any]:
        """Take a signal; return it if it is due already."""
        self._held.append(_Held(epoch, count, signal))
        return self._due()

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
        left, self._held = self._held, []
        return [each.signal for each in left]

    def _due(self) -> list[Any]:
        due = [each.signal for each in self._held if self._passed(each)]
        if due:
            self._held = [each for each in self._held if not self._passed(each)]
        return due

    def _passed(self, held: _Held) -> bool:
        if held.epoch != self._epoch:
            return held.epoch < self._epoch
        return not self._open or held.count <= self._delivered
