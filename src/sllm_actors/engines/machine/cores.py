"""Which engine computes on which CPU cores of this worker.

Threads that compute wait for each other by spinning: where those of two engines take turns on one core, both
crawl. So the family of processes of an engine that says how many threads it computes with has as many cores
of its own from its start on. One that does not say computes with half as many threads as there are cores;
while no other engine computes here it has all of them, and else as many as it has threads.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    _tenants: list[Callable[[], None]] = field(factory=list, init=False)

    @property
    def share_of_two(self) -> int:
        """How many threads an engine computes with by default, so that two of them have a core for each."""
        return max(1, len(self.cores) // 2)

    @contextmanager
    def lend(self, count: int) -> Iterator[tuple[int, ...]]:
        """Lend so many cores until the end of the context: see ``choose_cores``. It never waits."""
        with self._occupied(count, lambda: None) as chosen:
            yield chosen

    @contextmanager
    def share(self, count: int, changed: Callable[[], None]) -> Iterator[Callable[[], tuple[int, ...]]]:
        """Let an engine that computes with so many threads share the cores until the end of the context.

        Args:
            count: At least one.
            changed: Called, without waiting, when what the engine has may have changed.

        Returns: what tells which cores it has now: all while no other engine computes here, else its own.
        """
        with self._occupied(count, changed) as own:
            yield lambda: own if own and len(self._tenants) > 1 else self.cores

    @contextmanager
    def _occupied(self, count: int, changed: Callable[[], None]) -> Iterator[tuple[int, ...]]:
        if not count:
            yield ()
            return
        chosen = choose_cores(self.cores, self._loans, count)
        self._loans.update(chosen)
        self._tenants.append(changed)
        self._tell()
        try:
            yield chosen
        finally:
            self._loans.subtract(chosen)
            self._tenants.remove(changed)
            self._tell()

    def _tell(self) -> None:
        for changed in self._tenants:
            changed()
