"""How many bytes a gateway holds for its clients, all together. Pure."""

from __future__ import annotations


class ByteBudget:
    """Counts bytes that are held in memory, and says when there is no room for more.

    Args:
        limit: The most bytes that may be held.

    Attributes:
        held: How many are held now.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Count ``size`` more bytes and return True, or return False if they are too many."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Count ``size`` bytes less."""
        self.held -= size
