"""How many requests this gateway has at each replica."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sllm_actors.engines.identity import ReplicaId


class InFlight:
    """Counts by scoped ownership: whoever adds one takes it back by leaving its context, in any way."""

    def __init__(self) -> None:
        self._counts: dict[ReplicaId, int] = {}
        self._waiting: dict[ReplicaId, Callable[[], None]] = {}
        self.total = 0

    def of(self, replica: ReplicaId) -> int:
        """Return the count of one replica."""
        return self._counts.get(replica, 0)

    @contextmanager
    def request(self, replica: ReplicaId) -> Iterator[None]:
        """Count one request while the context lasts."""
        self._counts[replica] = self._counts.get(replica, 0) + 1
        self.total += 1
        try:
            yield
        finally:
            self.total -= 1
            left = self._counts[replica] - 1
            if left:
                self._counts[replica] = left
            else:
                del self._counts[replica]
                call = self._waiting.pop(replica, None)
                if call is not None:
                    call()

    def when_idle(self, replica: ReplicaId, call: Callable[[], None]) -> None:
        """Call once, when nothing is in flight there: now, or when the last request ends.

        A later call for the same replica replaces an earlier one that still waits.
        """
        if replica in self._counts:
            self._waiting[replica] = call
        else:
            call()
