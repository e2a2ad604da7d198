"""ServerlessLLM 0.8.0 (9f50241): ``sllm/routers/roundrobin_router.py`` and
``sllm/schedulers/fcfs_scheduler.py``.

Each model has a router. Autoscaler, each second: desired = ceil(requests / target), within the bounds; one
replica is made where there are fewer, with those that start, and one stopped where there are more, since
``keep_alive`` is 0 by default; if none is ready then, the autoscaler waits until one is. Load balancer:
takes one request at a time, waits a second, and gives it to the next of the ready replicas in turn if that
has fewer than ``target``; else it waits another second, and begins again. Scheduler, each second: each
replica that has no place gets the first worker with a free GPU, models in the order in which they were
first asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from math import ceil

from bench.trace_suite.cluster import Cluster, Replica
from bench.trace_suite.workload import Request

LOOP = 1.0


class ServerlessLLM08:
    """The policy of ServerlessLLM 0.8."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._cluster = cluster
        self._routers = [_Router(cluster, model) for model in range(len(cluster.models))]
        self._asking: dict[int, _Router] = {}
        cluster.clock.every(LOOP, self._tick)

    def arrived(self, request: Request) -> None:
        """Queue it."""
        self._routers[request.model].arrived(request)

    def ready(self, replica: Replica) -> None:
        """Stop it if the autoscaler has waited for that."""
        self._routers[replica.model].stop_if_due()

    def ended(self, _replica: Replica, request: Request) -> None:
        """Count it."""
        self._routers[request.model].requests -= 1

    def gone(self, _replica: Replica) -> None:
        """Nothing: the scheduler looks for free GPUs."""

    def _tick(self) -> None:
        for router in self._routers:
            router.autoscale()
            if router.unplaced:
                self._asking.setdefault(router.model, router)
        for router in self._asking.values():
            while router.unplaced and self._place(router.model):
                router.unplaced -= 1

    def _place(self, model: int) -> bool:
        worker = next((worker for worker in self._cluster.workers if worker.free), None)
        if worker is not None:
            self._cluster.start(model, worker)
        return worker is not None


class _Router:
    """One model's router: ``requests`` are all that are not answered, ``unplaced`` the replicas without a
    place."""

    def __init__(self, cluster: Cluster, model: int) -> None:
        self.model = model
        self.requests = 0
        self.unplaced = 0
        self._cluster = cluster
        self._queue: deque[Request] = deque()
        self._balancing = False
        self._stopping = False
        self._turn = 0

    def arrived(self, request: Request) -> None:
        self.requests += 1
        self._queue.append(request)
        if not self._balancing:
            self._balancing = True
            self._cluster.clock.after(LOOP, self._balance)

    def _balance(self) -> None:
        ready = self._cluster.ready[self.model]
        wait = LOOP
        if ready:
            replica = ready[self._turn % len(ready)]
            self._turn += 1
            if replica.load < self._cluster.profile.target:
                self._cluster.send(replica, self._queue.popleft())
            else:
                wait = 2 * LOOP
        if self._queue:
            self._cluster.clock.after(wait, self._balance)
        else:
            self._balancing = False

    def autoscale(self) -> None:
        if self._stopping:
            return
        profile = self._cluster.profile
        desired = min(ceil(self.requests / profile.target), profile.max_replicas)
        ready, starting = self._cluster.ready[self.model], self._cluster.starting[self.model]
        there = len(ready) + len(starting) + self.unplaced
        if desired > there:
            self.unplaced += 1
        elif desired < there:
            self._stopping = True
            self.stop_if_due()

    def stop_if_due(self) -> None:
        ready = self._cluster.ready[self.model]
        if self._stopping and ready:
            self._stopping = False
            self._cluster.clock.after(0.0, partial(self._cluster.stop, ready[-1]))
