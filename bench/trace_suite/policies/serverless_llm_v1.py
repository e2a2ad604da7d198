"""ServerlessLLM, branch v1-beta (44c2140): ``sllm/autoscaler.py``, ``sllm/reconciler.py``,
``sllm/router.py``.

Autoscaler, each 3 s: desired = ceil((buffered + in flight) / target), within the bounds; down at once, since
``keep_alive_seconds`` is 0 by default. Reconciler, each 3 s: a replica whose health answers gets an
endpoint; what is missing is created on the first of the workers with free GPUs that have fewest of the same
deployment; what is too much loses its endpoint, and is cancelled 2 s later, but only while none is
starting. Router: round robin over endpoints, without a limit; while there are none requests are buffered,
and released one each 100 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from math import ceil

from bench.trace_suite.cluster import Cluster, Replica, State
from bench.trace_suite.workload import Request

AUTOSCALER = RECONCILER = 3.0
DRAIN = 0.1
BEFORE_CANCEL = 2.0


class ServerlessLLMv1:
    """The policy of ServerlessLLM's v1-beta."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._cluster = cluster
        models = range(len(cluster.models))
        self._buffer: list[deque[Request]] = [deque() for _ in models]
        self._in_flight = [0 for _ in models]
        self._desired = [0 for _ in models]
        self._endpoints: list[list[Replica]] = [[] for _ in models]
        self._starting: list[list[Replica]] = [[] for _ in models]
        self._turn = [0 for _ in models]
        self._draining = [False for _ in models]
        cluster.clock.every(AUTOSCALER, self._autoscale)
        cluster.clock.every(RECONCILER, self._reconcile)

    def arrived(self, request: Request) -> None:
        """Forward it if there is an endpoint, past those that are buffered."""
        if self._endpoints[request.model]:
            self._forward(request)
        else:
            self._buffer[request.model].append(request)
            self._drain_later(request.model)

    def ready(self, _replica: Replica) -> None:
        """Nothing: the reconciler asks for its health."""

    def ended(self, _replica: Replica, request: Request) -> None:
        """Count it."""
        self._in_flight[request.model] -= 1

    def gone(self, _replica: Replica) -> None:
        """Nothing: the reconciler looks for free GPUs."""

    def _forward(self, request: Request) -> None:
        model = request.model
        endpoints = self._endpoints[model]
        self._in_flight[model] += 1
        self._cluster.send(endpoints[self._turn[model] % len(endpoints)], request)
        self._turn[model] += 1

    def _drain_later(self, model: int) -> None:
        if not self._draining[model]:
            self._draining[model] = True
            self._cluster.clock.after(DRAIN, partial(self._drain, model))

    def _drain(self, model: int) -> None:
        self._draining[model] = False
        if self._endpoints[model] and self._buffer[model]:
            self._forward(self._buffer[model].popleft())
        if self._endpoints[model] and self._buffer[model]:
            self._drain_later(model)

    def _autoscale(self) -> None:
        profile = self._cluster.profile
        for model, buffered in enumerate(self._buffer):
            demand = len(buffered) + self._in_flight[model]
            self._desired[model] = min(ceil(demand / profile.target), profile.max_replicas)

    def _reconcile(self) -> None:
        for model, desired in enumerate(self._desired):
            starting, ready = self._starting[model], self._endpoints[model]
            for replica in [each for each in starting if each.state is State.READY]:
                starting.remove(replica)
                ready.append(replica)
                self._drain_later(model)
            for _ in range(desired - len(ready) - len(starting)):
                self._create(model)
            if not starting:
                for replica in ready[::-1][
                    : max(0, len(ready) - desired)
                ]:  # instances are listed newest first
                    ready.remove(replica)
                    self._cluster.clock.after(BEFORE_CANCEL, partial(self._cluster.stop, replica))

    def _create(self, model: int) -> None:
        cluster = self._cluster
        here = [each.worker for each in self._endpoints[model] + self._starting[model]]
        free = [worker for worker in cluster.workers if worker.free]
        if free:
            worker = min(free, key=lambda each: sum(other is each for other in here))
            self._starting[model].append(cluster.start(model, worker))
