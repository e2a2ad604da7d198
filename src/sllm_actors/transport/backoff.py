"""How long to wait before dialling again: doubling, capped, with jitter so that nodes do not come in step."""

from __future__ import annotations

from attrs import define


@define
class DialBackoff:
    """The pauses of one dial.

    Attributes:
        first: The first pause, in seconds.
        cap: The longest.
    """

    first: float
    cap: float
    _next: float = 0.0

    def pause(self, chance: float) -> float:
        """Return the next pause, in seconds.

        Args:
            chance: A random number in [0, 1): the pause is between half of the present length and all of it.
        """
        length = self._next or self.first
        self._next = min(length * 2, self.cap)
        return min(length, self.cap) * (0.5 + chance / 2)

    def reset(self) -> None:
        """Begin again with the first pause: a link was established."""
        self._next = 0.0
