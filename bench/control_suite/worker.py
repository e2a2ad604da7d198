"""A simulated worker: its replicas, and whether it has all its orders."""

from __future__ import annotations

import itertools
import time
from typing import Any

from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState


@define
class SimReplica:
    """One replica, without an engine.

    Attributes:
        order: What the head ordered, as it came.
        attempt: The number of its engine's life on this worker.
        starts: How often its engine was started.
        since: When its state began, in seconds since the epoch.
    """

    key: ReplicaKey
    order: Any
    attempt: int
    state: ReplicaState = ReplicaState.PENDING
    starts: int = 0
    failures: int = 0
    since: float = field(factory=time.time)


@define(eq=False)
class SimWorker:
    """One worker.

    Attributes:
        node: Its node id.
        life: The counter of its incarnation: it rises with each new link.
        replicas: What it runs.
        linked: Whether the head has a link to it.
        ordered: Whether, over the present link, the head has said all that the worker is to run, and the
            worker all that it runs.
    """

    node: str
    speech: Any
    life: int = 0
    replicas: dict[ReplicaKey, SimReplica] = field(factory=dict)
    linked: bool = False
    ordered: bool = False
    _attempts: Any = field(factory=lambda: itertools.count(1))

    @property
    def settled(self) -> bool:
        """Whether it has its orders, and everything that it runs is ready."""
        return self.ordered and all(each.state is ReplicaState.READY for each in self.replicas.values())

    def begin(self, key: ReplicaKey, order: Any) -> SimReplica:
        """Add a replica that is PENDING."""
        replica = self.replicas[key] = SimReplica(key, order, next(self._attempts))
        return replica

    def become(self, replica: SimReplica, state: ReplicaState) -> None:
        """Change a replica's state; a new life of its engine begins with STARTING, and STOPPED removes it."""
        replica.state, replica.since = state, time.time()
        if state is ReplicaState.STARTING:
            replica.attempt = next(self._attempts)
            replica.starts += 1
        elif state is ReplicaState.STOPPED:
            del self.replicas[replica.key]
