"""Which engine computes on which CPU cores of this worker.

Threads that compute wait for each other by spinning: where threads of two engines take turns on one core,
both engines crawl. So each engine computes on cores of its own:

- An engine whose deployment sets its number of threads gets as many cores before it starts (``allocate``).
- Any other computes with half as many threads as the worker has cores. It may use all cores while no other
  engine computes, and as many as it has threads otherwise (``share``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import field, frozen


def choose_cores(cores: Sequence[int], engines: Mapping[int, int], count: int) -> tuple[int, ...]:
    """Return the cores for an engine that computes with ``count`` threads; () when it may use all.

    Those are the cores that the fewest engines have, in the order of ``cores``: engines share cores only
    where there are more threads than cores, and then evenly.

    Args:
        cores: Numbers of the cores that there are.
        engines: How many engines each core is allocated to; 0 where it is missing.
        count: How many cores; none or all of them give ().
    """
    if not 0 < count < len(cores):
        return ()
    return tuple(sorted(sorted(cores, key=lambda core: engines.get(core, 0))[:count]))


@frozen
class CorePool:
    """The CPU cores that engines of this worker may run on. Not thread-safe."""

    cores: tuple[int, ...] = field(factory=lambda: tuple(sorted(os.sched_getaffinity(0))))
    _allocated: Counter[int] = field(factory=Counter, init=False)
    _listeners: list[Callable[[], None]] = field(factory=list, init=False)

    @property
    def share_of_two(self) -> int:
        """How many threads an engine computes with by default: so that two engines fill all cores."""
        return max(1, len(self.cores) // 2)

    @contextmanager
    def allocate(self, count: int) -> Iterator[tuple[int, ...]]:
        """Allocate so many cores until the end of the context: see ``choose_cores``. It never waits."""
        with self._occupied(count, lambda: None) as chosen:
            yield chosen

    @contextmanager
    def share(self, count: int, changed: Callable[[], None]) -> Iterator[Callable[[], tuple[int, ...]]]:
        """Let an engine share the cores until the end of the context.

        Args:
            count: How many threads it computes with, at least one.
            changed: Called when the engine's cores may have changed; it must not block.

        Returns: A function that returns the cores that the engine has now: all of them while no other engine
            computes here, else ``count`` of its own.
        """
        with self._occupied(count, changed) as own:
            yield lambda: own if own and len(self._listeners) > 1 else self.cores

    @contextmanager
    def _occupied(self, count: int, changed: Callable[[], None]) -> Iterator[tuple[int, ...]]:
        if not count:
            yield ()
            return
        chosen = choose_cores(self.cores, self._allocated, count)
        self._allocated.update(chosen)
        self._listeners.append(changed)
        self._tell()
        try:
            yield chosen
        finally:
            self._allocated.subtract(chosen)
            self._listeners.remove(changed)
            self._tell()

    def _tell(self) -> None:
        for changed in self._listeners:
            changed()
