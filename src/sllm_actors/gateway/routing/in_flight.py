"""How many requests this gateway has at each replica."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sllm_actors.engines.identity import ReplicaId


class InFlight:
    """Counts requests per replica. Each is counted as long as its ``request`` context is open.

    Attributes:
        total: The requests in flight at all replicas together.
    """

    def __init__(self) -> None:
        self._counts: dict[ReplicaId, int] = {}
        self._waiting: dict[ReplicaId, list[Callable[[], None]]] = {}
        self.total = 0

    def of(self, replica: ReplicaId) -> int:
        """Return how many requests are in flight at one replica."""
        return self._counts.get(replica, 0)

    @contextmanager
    def request(self, replica: ReplicaId) -> Iterator[None]:
        """Count one request at a replica until the context is left, also by an error or a cancellation."""
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
                for call in self._waiting.pop(replica, ()):
                    call()

    def when_idle(self, replica: ReplicaId, call: Callable[[], None]) -> None:
        """Call ``call`` once, when nothing is in flight at a replica: now, or at the end of its last request.

        ``call`` must not raise. Calls that wait for one replica are made in the order in which they came.
        """
        if replica in self._counts:
            self._waiting.setdefault(replica, []).append(call)
        else:
            call()
