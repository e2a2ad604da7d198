"""The workers: they do on the simulated cluster what the head orders, and report it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, evolve

from bench.trace_suite.cluster import Cluster, Replica, State, Worker
from sllm_actors.actors import Incarnation
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import IDLE_PATIENCE, ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory, Order
from sllm_actors.serving.picture.events import Event, InventoryReported, NodeUp, ReplicasReported

LIFE = Incarnation(1, 0)


@define(eq=False)
class _Known:
    """A replica; ``stops_if_idle`` counts the orders to stop if it is idle, while one of them holds."""

    node: str
    replica: Replica
    report: ReplicaReport
    stops_if_idle: int = 0
    orders: int = 0


class Workers:
    """All workers.

    Args:
        cluster: What they act on.
        models: The index of the model of each deployment, by its id.
        tell: Is told each event for the head.
        add: Is told of a replica that is to get requests.
        withdraw: Is told of a replica that is to get no more requests.
    """

    def __init__(
        self,
        cluster: Cluster,
        models: Mapping[str, int],
        tell: Callable[[Event], None],
        add: Callable[[Replica], None],
        withdraw: Callable[[Replica], None],
    ) -> None:
        self._cluster = cluster
        self._models = models
        self._tell = tell
        self._add = add
        self._withdraw = withdraw
        self._workers = {f"worker-{worker.number}": worker for worker in cluster.workers}
        self._known: dict[ReplicaKey, _Known] = {}
        self._keys: dict[Replica, ReplicaKey] = {}

    def link(self) -> None:
        """Let all come up, without any replica."""
        for node, worker in self._workers.items():
            self._tell(NodeUp(node, "worker", "10.0.0.1", LIFE))
            self._tell(InventoryReported(node, self._inventory(node, worker)))
            self._tell(ReplicasReported(node, whole=True))

    def obey(self, node: str, key: ReplicaKey, order: Order) -> None:
        """Do what is ordered, a moment later: the head is in the middle of something."""
        self._cluster.clock.after(0.0, lambda: self._obey(node, key, order))

    def ready(self, replica: Replica) -> None:
        """Let requests go to a replica that is ready, and report it."""
        self._add(replica)
        took = replica.ready_at - replica.since
        self._say(self._keys[replica], ReplicaState.READY, started_in=took)

    def ended(self, replica: Replica) -> None:
        """Let a replica stop that was to stop when it is idle, now that a request of it has ended."""
        known = self._known[self._keys[replica]]
        if known.stops_if_idle and not replica.load:
            self._cluster.stop(replica)

    def gone(self, replica: Replica) -> None:
        """Report a replica that has stopped."""
        key = self._keys.pop(replica)
        known = self._known.pop(key)
        self._tell(ReplicasReported(known.node, (), (key,)))

    def _inventory(self, node: str, worker: Worker) -> Inventory:
        memory = self._cluster.profile.gpu_memory
        gpus = tuple(Gpu(f"{node}-{n}", "", memory, memory) for n in range(len(worker.gpus)))
        host = 2 * self._cluster.profile.host_memory
        return Inventory(node, port=8002, gpus=gpus, cpus=64, memory_total=host, memory_free=host)

    def _obey(self, node: str, key: ReplicaKey, order: Order) -> None:
        known = self._known.get(key)
        if known is None:
            if order.run is not None:
                self._start(node, key, order.run)
            else:
                self._tell(ReplicasReported(node, (), (key,)))
        elif known.replica.state not in (State.STARTING, State.READY):
            return
        elif order.run is None:
            self._stop(key, known, if_idle=order.if_idle and known.replica.state is State.READY)
        elif known.stops_if_idle:
            self._go_on(key, known)

    def _stop(self, key: ReplicaKey, known: _Known, *, if_idle: bool) -> None:
        self._withdraw(known.replica)
        self._say(key, ReplicaState.DRAINING, if_idle=if_idle)
        if not if_idle or not known.replica.load:
            known.stops_if_idle = 0
            self._cluster.stop(known.replica)
            return
        known.orders += 1
        known.stops_if_idle = order = known.orders

        def decline() -> None:
            if known.stops_if_idle == order and known.replica.state is State.READY:
                self._go_on(key, known, declined=known.report.declined + 1)

        self._cluster.clock.after(IDLE_PATIENCE, decline)

    def _go_on(self, key: ReplicaKey, known: _Known, **changes: int) -> None:
        known.stops_if_idle = 0
        self._add(known.replica)
        self._say(key, ReplicaState.READY, if_idle=False, **changes)

    def _start(self, node: str, key: ReplicaKey, order: ReplicaOrder) -> None:
        replica = self._cluster.start(self._models[key.deployment], self._workers[node])
        report = ReplicaReport(
            key.attempt(1),
            ReplicaState.STARTING,
            gpus=order.num_gpus,
            fingerprint=order.fingerprint,
            concurrency=self._cluster.profile.target,
            starts=1,
        )
        self._known[key] = _Known(node, replica, report)
        self._keys[replica] = key
        self._say(key, ReplicaState.STARTING)

    def _say(self, key: ReplicaKey, state: ReplicaState, **changes: Any) -> None:
        known = self._known[key]
        known.report = evolve(known.report, state=state, since=self._cluster.clock.now, **changes)
        self._tell(ReplicasReported(known.node, (known.report,)))
