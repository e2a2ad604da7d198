"""llama-swap (0bdb372): ``internal/router/scheduler/fifo.go`` over ``internal/matrix/program.go``.

Any models may run together that are not more than GPUs: one matrix whose set names every model once for
each GPU. A request for a model that is ready goes on at once. One whose model is being loaded joins it.
Else the models to evict are chosen (all cost 1, and of equal sets the first in the matrix that holds the
model and as many of the running ones as can be stays: the last ones by name go). If one of them is being
loaded, or has a request, or goes already, the request queues. When a swap ends, or a model has no request
any more, the queue is looked through, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from bench.trace_suite.cluster import Cluster, Replica, State
from bench.trace_suite.workload import Request


@define(eq=False)
class Swap:
    """A model that is being loaded: whom it evicts, and who waits for it."""

    evict: list[int]
    waiters: list[Request]
    started: bool = False


class Collating:
    """The policy of llama-swap's scheduler."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._cluster = cluster
        self._gpus = cluster.free
        self._running: dict[int, Replica] = {}  # by model, with those that are ending
        self._active: dict[int, Swap] = {}
        self._in_flight: dict[int, int] = {}
        self._queue: list[Request] = []

    def arrived(self, request: Request) -> None:
        """Serve it, let it join a swap, begin one, or queue it."""
        if not self._try(request):
            self._queue.append(request)

    def ready(self, replica: Replica) -> None:
        """Serve those who waited for it."""
        for request in self._active.pop(replica.model).waiters:
            self._serve(request)
        self._drain()

    def ended(self, _replica: Replica, request: Request) -> None:
        """Look through the queue when the model is idle."""
        self._in_flight[request.model] -= 1
        if not self._in_flight[request.model]:
            self._drain()

    def gone(self, replica: Replica) -> None:
        """Start the model for which it had to go, when all that had to are gone."""
        del self._running[replica.model]
        self._start_swaps()

    # ---- deciding

    def _try(self, request: Request) -> bool:
        model = request.model
        if model in self._active:
            self._active[model].waiters.append(request)
            return True
        evict = self._eviction_for(model)
        replica = self._running.get(model)
        is_ready = replica is not None and replica.state is State.READY
        if self._collides(model, evict):
            return False
        if is_ready and not evict:
            self._serve(request)
            return True
        if any(self._in_flight.get(each) for each in evict):
            return False
        self._active[model] = Swap(evict, [request])
        for each in evict:
            self._cluster.stop(self._running[each])
        self._start_swaps()
        return True

    def _eviction_for(self, model: int) -> list[int]:
        live = sorted((self._running.keys() | self._active.keys()) - {model})
        if model in self._running and model not in self._active:
            return []
        return live[self._gpus - 1 :]

    def _collides(self, model: int, evict: list[int]) -> bool:
        return any(
            other in evict or model in swap.evict or not set(evict).isdisjoint(swap.evict)
            for other, swap in self._active.items()
        )

    def _drain(self) -> None:
        self._queue = [request for request in self._queue if not self._try(request)]

    # ---- doing

    def _serve(self, request: Request) -> None:
        self._in_flight[request.model] = self._in_flight.get(request.model, 0) + 1
        self._cluster.send(self._running[request.model], request)

    def _start_swaps(self) -> None:
        for model, swap in self._active.items():
            if not swap.started and self._running.keys().isdisjoint([*swap.evict, model]):
                worker = self._cluster.soonest(model)
                if worker is None:
                    continue
                swap.started = True
                self._running[model] = self._cluster.start(model, worker)
