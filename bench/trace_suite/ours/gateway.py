"""The gateway: it holds requests in order, gives them to replicas up to their limit, and tells the head of
demand.

These are the rules of the real one, of which there is one here: a replica that is ready gets what waits,
the oldest first, up to what it takes at a time; of two taken by chance, the less busy one. Changes of
demand are told every 50 ms, the first request that has no replica at once; a beat each second says that the
gateway is still there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from bench.trace_suite.cluster import Cluster, Replica
from bench.trace_suite.workload import Request
from sllm_actors.actors import Incarnation
from sllm_actors.serving.messages import Demand
from sllm_actors.serving.picture.events import DemandReported, Event, NodeUp

NODE = "gateway"
BEAT = 1.0
COALESCED = 0.05


class Gateway:
    """One gateway.

    Args:
        cluster: What it sends requests to.
        names: The id of the deployment of each model.
        tell: Is told each event for the head.
    """

    def __init__(self, cluster: Cluster, names: Sequence[str], tell: Callable[[Event], None]) -> None:
        self._cluster = cluster
        self._names = names
        self._tell = tell
        self._held: list[deque[Request]] = [deque() for _ in names]
        self._routes: list[list[Replica]] = [[] for _ in names]
        self._in_flight = [0 for _ in names]
        self._uses = [0 for _ in names]
        self._changed: dict[int, None] = {}
        self._at_rest: dict[int, None] = {}
        self._publishes = False
        self._chance = Random(0)

    def link(self) -> None:
        """Come up."""
        self._tell(NodeUp(NODE, "gateway", "10.0.0.2", Incarnation(1, 0)))
        self._cluster.clock.every(BEAT, self._beat)

    def arrived(self, request: Request) -> None:
        """Give a request to a replica, or hold it."""
        model = request.model
        self._held[model].append(request)
        self._changed[model] = None
        self._release(model)
        if self._held[model] and not self._routes[model] and len(self._held[model]) == 1:
            self._publish()
        else:
            self._publish_soon()

    def ended(self, request: Request) -> None:
        """Count it, and give what waits to the replica."""
        self._in_flight[request.model] -= 1
        self._changed[request.model] = None
        self._release(request.model)
        self._publish_soon()

    def add(self, replica: Replica) -> None:
        """Route to a replica that is ready."""
        self._routes[replica.model].append(replica)
        self._changed[replica.model] = None
        self._release(replica.model)
        self._publish_soon()

    def withdraw(self, replica: Replica) -> None:
        """Route to a replica no longer."""
        if replica in self._routes[replica.model]:
            self._routes[replica.model].remove(replica)
            self._changed[replica.model] = None
            self._publish_soon()

    def _release(self, model: int) -> None:
        held, limit = self._held[model], self._cluster.profile.target
        while held:
            able = [each for each in self._routes[model] if each.load < limit]
            if not able:
                return
            two = able if len(able) <= 2 else self._chance.sample(able, 2)
            self._in_flight[model] += 1
            self._uses[model] += 1
            self._cluster.send(min(two, key=lambda each: each.load), held.popleft())

    # ---- what it tells the head

    def _publish_soon(self) -> None:
        if not self._publishes:
            self._publishes = True
            self._cluster.clock.after(COALESCED, self._publish_late)

    def _publish_late(self) -> None:
        self._publishes = False
        if self._changed or self._at_rest:
            self._publish()

    def _beat(self) -> None:
        self._publish()

    def _publish(self) -> None:
        changed, self._changed = self._changed, {}
        at_rest, self._at_rest = self._at_rest, {}
        put: list[Demand] = []
        for model in changed:
            held, in_flight = len(self._held[model]), self._in_flight[model]
            ready = len(self._routes[model])
            put.append(Demand(self._names[model], held, in_flight, ready, self._uses[model]))
            if not held and not in_flight:
                self._at_rest[model] = None
        removed = []
        for model in at_rest:
            if model not in changed:
                self._uses[model] = 0
                removed.append(self._names[model])
        self._tell(DemandReported(NODE, tuple(put), tuple(removed)))
