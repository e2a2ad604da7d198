"""A worker as it really is: it goes on while its link, or the head, is away."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sllm_actors.actors import Incarnation
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory, Order


class Machine:
    """What a worker was told, and what it runs.

    Attributes:
        orders: What it was told last; while its link is away, that may be more than it knows.
        running: Its replicas, as it reports them.
        refuses: By deployment id: why it cannot run that.
        fails: Ids of deployments whose engines do not become ready there.
        slow: Whether what is to stop drains first, until ``end``.
        busy: Replicas that decline to stop or sleep if idle; those that had their turn wait for requests.
        drowsy: Whether it takes a while to fall asleep and to wake, until ``changed_tier``.
        memory_short: Whether it has no memory for what is to sleep at level 1.
        kept: Bytes of each of its GPUs that an engine keeps as it sleeps; None: none is of a known size.
    """

    def __init__(self, name: str, gpus: int, **inventory: Any) -> None:
        self.name = name
        self.inventory = Inventory(name=name, port=8002, cpus=8, **inventory)
        self.has_gpus(gpus)
        self.changes = 0
        self.life = 1
        self.linked = False
        self.orders: dict[ReplicaKey, Order] = {}
        self.running: dict[ReplicaKey, ReplicaReport] = {}
        self.documents: dict[ReplicaKey, str] = {}
        self.refuses: dict[str, str] = {}
        self.fails: set[str] = set()
        self.slow = False
        self.busy: set[ReplicaKey] = set()
        self.kept: int | None = None
        self.drowsy = False
        self.memory_short = False
        self._declined: dict[ReplicaKey, int] = {}

    def has_gpus(self, count: int, *, stuck: int = 0) -> None:
        gpus = tuple(Gpu(f"{self.name}-{index}", stuck=index < stuck) for index in range(count))
        self.inventory = evolve(self.inventory, gpus=gpus)

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(self.life, 0)

    def put(self, key: ReplicaKey, state: ReplicaState, **fields: Any) -> ReplicaReport:
        before = self.running.get(key) or ReplicaReport(key.attempt(1), state)
        self.running[key] = evolve(before, state=state, **fields)
        return self.running[key]

    def obey(self) -> tuple[list[ReplicaReport], list[ReplicaKey]]:
        """Take all orders: what is to run begins to start, what is to stop drains or is gone.

        Returns:
            What it reports of that: new reports, and replicas of which it has nothing any more.
        """
        put: list[ReplicaReport] = []
        removed: list[ReplicaKey] = []
        for key, order in self.orders.items():
            known = self.running.get(key)
            if order.run is not None and known is None and order.sleep is None:
                self._begin(order.run)
                put.append(self.running[key])
            elif order.run is not None and known is None:
                removed.append(key)
            elif order.run is not None and known is not None:
                self.documents[key] = order.run.document
                put += self._tier(known, order)
            elif order.if_idle and known is not None and key in self.busy:
                if self._declined.get(key) != order.turn:
                    self._declined[key] = order.turn
                    put.append(self.put(key, known.state, declined=known.declined + 1))
            elif order.run is None and known is not None and self.slow:
                if known.state is not ReplicaState.DRAINING:
                    put.append(self.put(key, ReplicaState.DRAINING))
            else:
                self.running.pop(key, None)
                removed.append(key)
        return put, removed

    def _tier(self, known: ReplicaReport, order: Order) -> list[ReplicaReport]:
        """Let a replica sleep, if it is idle, or wake."""
        key, awake = order.key, known.state is ReplicaState.READY
        if order.sleep is None and known.state is ReplicaState.ASLEEP:
            if self.drowsy:
                again = known.level is not None
                return [self.put(key, known.state, level=None, progress="waking up")] if again else []
            return [self.put(key, ReplicaState.READY, level=None, **self._has(known, asleep=False))]
        if order.sleep is None or not awake or self._declined.get(key) == order.turn:
            return []
        if self.memory_short and order.sleep == 1:
            self._declined[key] = order.turn
            return [self.put(key, known.state, declined=known.declined + 1, memory_short=True)]
        if key in self.busy and order.patience is not None and known.can_sleep:
            waiting = "waiting for its requests to end"
            return [self.put(key, ReplicaState.ASLEEP, level=order.sleep, progress=waiting)]
        if key in self.busy or not known.can_sleep:
            self._declined[key] = order.turn
            return [self.put(key, known.state, declined=known.declined + 1)]
        if self.drowsy:
            return [self.put(key, ReplicaState.ASLEEP, level=order.sleep, progress="falling asleep")]
        return [self.put(key, ReplicaState.ASLEEP, level=order.sleep, **self._has(known, asleep=True))]

    def changed_tier(self, key: ReplicaKey) -> None:
        """Let a replica have fallen asleep, or have woken, that was about to."""
        known = self.running[key]
        asleep = known.level is not None
        state = ReplicaState.ASLEEP if asleep else ReplicaState.READY
        self.put(key, state, progress="", **self._has(known, asleep=asleep))

    def _has(self, known: ReplicaReport, *, asleep: bool) -> dict[str, int]:
        """Return what a report says of the memory of its GPUs once it sleeps, or is awake again."""
        if self.kept is None or not known.devices:
            return {}
        sizes = [gpu.memory_total for gpu in self.inventory.gpus if gpu.uuid in known.devices]
        return {"gpu_reserved": self.kept if asleep else min(sizes)}

    def end(self) -> list[ReplicaKey]:
        """Let what drains be gone, and return it."""
        gone = [key for key, each in self.running.items() if each.state is ReplicaState.DRAINING]
        for key in gone:
            del self.running[key]
        return gone

    def _begin(self, order: ReplicaOrder) -> None:
        """Take an order to run, as a worker does: refuse it, or start."""
        name = order.key.deployment
        self.documents[order.key] = order.document
        report = ReplicaReport(
            order.key.attempt(1), ReplicaState.STARTING, gpus=order.num_gpus, fingerprint=order.fingerprint
        )
        report = evolve(report, gpu_share=order.gpu_memory)
        if name in self.refuses:
            report = evolve(report, state=ReplicaState.FAILED, unfit=True, reason=self.refuses[name])
        self.running[order.key] = report
