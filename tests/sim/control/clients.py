"""Clients, who ask for models at every gateway; and what they were promised."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio
from anyio.abc import TaskGroup
from attrs import define, field

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked, Outcome
from sllm_actors.gateway.routing.lines.hold import Hold
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Upstream

if TYPE_CHECKING:
    from .cluster import Cluster
    from .machine import Machine
    from .nodes import Gateway

LONG = 12.0
"""Seconds that the longest requests take at a replica: longer than it is waited for when it is not needed."""


class Clients:
    """Ask for deployments, those that do not run too.

    Attributes:
        requests: Those that wait or are under way.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.requests: set[Request] = set()
        self.dice = random.Random(f"{cluster.seed}/clients")
        self._pause = self.dice.choice([0.1, 0.5, 2.0])

    async def live(self, seconds: float, tasks: TaskGroup) -> None:
        """Ask for this and that for so long; ``tasks`` runs requests to their end, also after that."""
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            await trio.sleep(self.dice.expovariate(1 / self._pause))
            gateways = self.cluster.serving_gateways()
            if gateways:
                name = self.dice.choice(list(self.cluster.people.wishes))
                self._ask(self.dice.choice(gateways), name, tasks)

    def _ask(self, gateway: Gateway, name: str, tasks: TaskGroup) -> None:
        keep_alive = self.dice.choice([None, None, None, 0.0, 1.0, -1.0])
        request = Request(self, gateway, Asked(name, keep_alive=keep_alive), tasks)
        upstream = gateway.balancer.take(request.asked, request)
        if upstream is not None:
            request.granted(upstream)
            return
        try:
            request.hold = gateway.balancer.hold(request.asked, request)
        except ApiError as error:
            self.cluster.ledger.counts[f"refused {error.code}"] += 1
        else:
            self.requests.add(request)

    def at(self, machine: Machine, life: ReplicaId) -> list[str]:
        """Return the gateways that are linked to a worker and have requests at one of its engines."""
        worker = self.cluster.nodes.get(machine.name)
        linked = set() if worker is None else {peer.node for peer in worker.transport.peers()}
        where = Upstream(life, machine.name, "", "")
        return [
            gateway.name
            for gateway in self.cluster.serving_gateways()
            if gateway.name in linked and gateway.balancer.at(where)
        ]


@define(eq=False)
class Request:
    """One request: a ``User`` of a gateway's balancer."""

    clients: Clients
    gateway: Gateway
    asked: Asked
    tasks: TaskGroup
    hold: Hold | None = None
    over: bool = field(default=False, init=False)

    def granted(self, upstream: Upstream) -> None:
        """Go on at a replica."""
        self.clients.requests.add(self)
        self._trace("is at", upstream.id)
        mean = self.clients.dice.choice([0.05, 1.0, 4.0])
        self.tasks.start_soon(self._be_served, min(LONG, self.clients.dice.expovariate(1 / mean)))

    async def _be_served(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._end(Outcome.SERVED, "served")

    def refused(self, error: ApiError) -> None:
        """End without an answer."""
        self._over(f"refused {error.code}")

    def lost(self, lost: Lost) -> None:
        """End in the middle."""
        self._end(Outcome.BROKE, "broke off")

    def _end(self, outcome: Outcome, what: str) -> None:
        if not self.over:
            self._over(what)
            if not self.gateway.dead:
                self.gateway.balancer.done(self, outcome)

    def _over(self, what: str) -> None:
        self.over = True
        self.clients.requests.discard(self)
        self.clients.cluster.ledger.counts[what] += 1
        self._trace(what)

    def _trace(self, *what: object) -> None:
        name = self.asked.deployment
        self.clients.cluster.ledger.trace("a request for", name, "at", self.gateway.name, *what)
