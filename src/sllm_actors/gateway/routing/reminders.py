"""What the balancer has to look at again, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeAlias

from sortedcontainers import SortedDict

from .lines.hold import Hold
from .lines.place import Place

Item: TypeAlias = Hold | Place
"""A request whose time to wait may be over, or a place whose circuit was open long enough."""


class Reminders:
    """Items by the time when they are due, and one alarm for the earliest.

    Putting, dropping and taking an item cost the logarithm of how many there are. Times are in seconds by one
    monotonic clock.

    Args:
        wake_at: Sets the alarm, which voids what was set before. It is called only to set an earlier time.
    """

    def __init__(self, wake_at: Callable[[float], None]) -> None:
        self._wake_at = wake_at
        self._alarm = inf
        self._items = SortedDict()  # of (due, number) -> Item

    def put(self, due: float, number: int, item: Item) -> None:
        """Note an item; no other that is due at that time may have its number."""
        self._items[due, number] = item
        self.wake(due)

    def drop(self, due: float, number: int) -> None:
        """Take an item off, which was put with these figures."""
        del self._items[due, number]

    def wake(self, when: float) -> None:
        """Have the alarm ring then, or sooner."""
        if when < self._alarm:
            self._alarm = when
            self._wake_at(when)

    def rang(self) -> None:
        """Take note that the alarm has rung. ``rest`` is to be called when what is due is done."""
        self._alarm = inf

    def rest(self) -> None:
        """Set the alarm for the item that is due first, if there is any."""
        if self._items:
            self.wake(self._items.peekitem(0)[0][0])

    def due(self, now: float) -> tuple[float, int, Item] | None:
        """Return the item that is due first, if it is due by now; it stays until it is dropped."""
        if not self._items:
            return None
        (due, number), item = self._items.peekitem(0)
        return (due, number, item) if due <= now else None
