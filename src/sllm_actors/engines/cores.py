"""Which engine computes on which CPU cores of this worker.

An engine on a CPU that says how many threads it computes with gets as many cores for its whole family of
processes, so that the threads of two engines, which wait by spinning, never take turns on one core. One that
does not say runs on all of them, where the kernel spreads it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import field, frozen


def choose_cores(cores: Sequence[int], loans: Mapping[int, int], count: int) -> tuple[int, ...]:
    """Return the cores for an engine that computes with so many threads; () when all are its.

    They are those that the fewest engines have, the first of them first: engines share cores only where
    there are more threads than cores, and then evenly.
    """
    if not 0 < count < len(cores):
        return ()
    return tuple(sorted(sorted(cores, key=lambda core: loans.get(core, 0))[:count]))


@frozen
class CorePool:
    """The CPU cores that engines of this worker may run on; for use in one thread."""

    cores: tuple[int, ...] = field(factory=lambda: tuple(sorted(os.sched_getaffinity(0))))
    _loans: Counter[int] = field(factory=Counter, init=False)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.cores)

    @contextmanager
    def lend(self, count: int) -> Iterator[tuple[int, ...]]:
        """Lend so many cores until the end of the context: see ``choose_cores``. It never waits."""
        chosen = choose_cores(self.cores, self._loans, count)
        self._loans.update(chosen)
        try:
            yield chosen
        finally:
            self._loans.subtract(chosen)
