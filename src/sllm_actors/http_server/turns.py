"""Decides which of the processes that share a listening socket takes the next connection. Pure.

All of them are woken by it, and without a rule the one that runs first would take them all.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

STEP = 0.002
"""Seconds after which a process that lets a sibling go first looks again."""

PATIENCE = 0.05
"""Seconds that a sibling has to take a connection. One that does not is passed over until it stirs."""


@frozen
class Sibling:
    """What a process shows to those that share its listening socket.

    Attributes:
        connections: How many it has; negative while it takes none.
        beat: A number that changes each time when it looks for connections.
    """

    connections: int
    beat: int


@define
class Turns:
    """The rule, as one process follows it: who has fewest goes first, and none waits long for another."""

    _began: float | None = None
    _passed_over: dict[int, int] = field(factory=dict)

    def wait(self, own: int, siblings: Sequence[Sibling], now: float) -> float:
        """Return 0 when this process should take the next connection now, or else when it should look again.

        Args:
            own: How many connections this process has.
            siblings: The other processes, always in the same order.
            now: The time in seconds, from any clock that does not go back.
        """
        behind = {
            number: sibling.beat
            for number, sibling in enumerate(siblings)
            if 0 <= sibling.connections < own and self._passed_over.get(number) != sibling.beat
        }
        if not behind:
            self._began = None
            return 0.0
        if self._began is None:
            self._began = now
        if now - self._began < PATIENCE:
            return STEP
        self._passed_over |= behind
        self._began = None
        return 0.0
