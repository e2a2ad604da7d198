"""All that a gateway has been told, as one immutable value: by the head, and by each worker of itself."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.messages import ReplicaStates, RoutingTable, ServedModel

from .route import Route, make_route

NO_TABLE = RoutingTable((0, 0))


@frozen
class Knowledge:
    """The head's last routing table and the last report of each worker. Each method returns a new value, or
    this one where it learned nothing."""

    table: RoutingTable = NO_TABLE
    states: Mapping[str, ReplicaStates] = field(factory=dict)

    def with_table(self, table: RoutingTable) -> Knowledge:
        """Learn a routing table, unless it is not newer than the one that is known."""
        return evolve(self, table=table) if table.epoch > self.table.epoch else self

    def with_states(self, states: ReplicaStates) -> Knowledge:
        """Learn what a worker says of its replicas, unless it said something newer before."""
        known = self.states.get(states.node)
        if known is not None and states.sequence <= known.sequence:
            return self
        return evolve(self, states={**self.states, states.node: states})

    def with_new_life(self, node: str) -> Knowledge:
        """A worker's link is new: its numbers may begin again. What it last said stands until it speaks."""
        known = self.states.get(node)
        return (
            self if known is None else evolve(self, states={**self.states, node: evolve(known, sequence=-1)})
        )

    def without(self, node: str) -> Knowledge:
        """Forget a worker that is lost."""
        if node not in self.states:
            return self
        return evolve(self, states={name: states for name, states in self.states.items() if name != node})

    def served(self) -> dict[str, ServedModel]:
        """Return what is deployed, by id."""
        return {model.id: model for model in self.table.models}

    def replicas(self) -> dict[str, list[tuple[str, ReplicaReport]]]:
        """Return the replicas of each deployment, each with its worker's node."""
        replicas: dict[str, list[tuple[str, ReplicaReport]]] = {}
        for node, states in self.states.items():
            for report in states.replicas:
                replicas.setdefault(report.id.deployment, []).append((node, report))
        return replicas

    def routes(self, *, patience: float) -> dict[str, Route]:
        """Return the route of everything that is deployed, or that has replicas left."""
        served, replicas = self.served(), self.replicas()
        return {
            name: make_route(name, served.get(name), replicas.get(name, ()), patience=patience)
            for name in sorted(served.keys() | replicas.keys())
        }

    def node_of(self, replica: ReplicaKey) -> str | None:
        """Return the worker that reports a replica, or None."""
        for node, states in self.states.items():
            if any(report.id.key == replica for report in states.replicas):
                return node
        return None
