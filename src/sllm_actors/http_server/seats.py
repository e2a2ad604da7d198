"""Memory in which processes that share a listening socket show each other how many connections they have."""

from __future__ import annotations

import mmap
import os

from .turns import Sibling

_WORDS = 2
_SIZE = 8 * _WORDS


def make_seats(count: int) -> int:
    """Return the descriptor of memory for so many processes; the caller closes it. All seats are empty."""
    descriptor = os.memfd_create("sllm-seats")
    os.write(descriptor, count * ((-1).to_bytes(8, "little", signed=True) + bytes(8)))
    return descriptor


class Seats:
    """One process's view of that memory; each process writes to its own seat only.

    Args:
        descriptor: From ``make_seats``; it may be closed afterwards.
        own: Which seat is this process's.
    """

    def __init__(self, descriptor: int, own: int) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._memory).cast("q")
        self._own = own

    def show(self, connections: int) -> None:
        """Show how many connections this process has, and that it has just looked for more."""
        self._words[_WORDS * self._own + 1] += 1
        self._words[_WORDS * self._own] = connections

    def leave(self) -> None:
        """Show that this process takes no connections."""
        self._words[_WORDS * self._own] = -1

    def siblings(self) -> list[Sibling]:
        """Return what the other processes show."""
        count = len(self._words) // _WORDS
        return [
            Sibling(self._words[_WORDS * seat], self._words[_WORDS * seat + 1])
            for seat in range(count)
            if seat != self._own
        ]
