"""llama-swap before its scheduler (46cea36^): ``proxy/processgroup.go``, first come first served.

A group has one GPU and one model at a time; models are dealt to the groups in turn, as one has to write
them down. All requests of a group pass one lock in order. One for the model that is loaded goes on at once.
One for another model keeps the lock: it waits until nothing is in flight, stops what is loaded, starts its
model, and lets the next one pass only when it is answered itself. Nothing is unloaded for being idle
(``ttl`` is 0 by default).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bench.trace_suite.cluster import Cluster, Replica, State, Worker
from bench.trace_suite.workload import Request


class SwapGroups:
    """The policy of llama-swap's groups."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._groups = [_Group(cluster, worker) for worker in cluster.workers for _ in worker.gpus]

    def _of(self, model: int) -> _Group:
        return self._groups[model % len(self._groups)]

    def arrived(self, request: Request) -> None:
        """Let it queue for the lock of its group."""
        self._of(request.model).arrived(request)

    def ready(self, replica: Replica) -> None:
        """Serve the request that the swap was for."""
        self._of(replica.model).go_on()

    def ended(self, _replica: Replica, request: Request) -> None:
        """Let the next one pass the lock."""
        self._of(request.model).ended(request)

    def gone(self, replica: Replica) -> None:
        """Start what the swap was for."""
        self._of(replica.model).gone()


class _Group:
    """One group with its lock: ``_swapping`` is the request that keeps it."""

    def __init__(self, cluster: Cluster, worker: Worker) -> None:
        self._worker = worker
        self._cluster = cluster
        self._queue: deque[Request] = deque()
        self._replica: Replica | None = None
        self._swapping: Request | None = None

    def arrived(self, request: Request) -> None:
        self._queue.append(request)
        self.go_on()

    def ended(self, request: Request) -> None:
        if request is self._swapping:
            self._swapping = None
        self.go_on()

    def gone(self) -> None:
        self._replica = None
        self.go_on()

    def go_on(self) -> None:
        if self._swapping is not None:
            self._swap(self._swapping)
            return
        while self._queue:
            loaded = self._replica
            if loaded is None or loaded.model != self._queue[0].model:
                self._swapping = self._queue.popleft()
                self._swap(self._swapping)
                return
            self._cluster.send(loaded, self._queue.popleft())

    def _swap(self, request: Request) -> None:
        loaded = self._replica
        if loaded is None:
            self._replica = self._cluster.start(request.model, self._worker)
        elif loaded.model != request.model:
            if not loaded.load:
                self._cluster.stop(loaded)
        elif loaded.state is State.READY and request.begun is None and not loaded.load:
            self._cluster.send(loaded, request)
