"""All that a gateway has been told by the head and by the workers, as one immutable value. Pure."""

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
    """The head's last routing table and each worker's last report of its replicas.

    The methods ``with_…`` and ``without`` return a new value, or this one where nothing changes.

    Attributes:
        table: The routing table: which deployments and workers there are.
        states: The last report of each worker that is linked, by the worker's node id.
    """

    table: RoutingTable = NO_TABLE
    states: Mapping[str, ReplicaStates] = field(factory=dict)

    def with_table(self, table: RoutingTable) -> Knowledge:
        """Learn a routing table, if it is newer than the known one."""
        return evolve(self, table=table) if table.epoch > self.table.epoch else self

    def with_states(self, states: ReplicaStates) -> Knowledge:
        """Learn a worker's report of its replicas, if it is newer than the known one."""
        known = self.states.get(states.node)
        if known is not None and states.sequence <= known.sequence:
            return self
        return evolve(self, states={**self.states, states.node: states})

    def with_new_life(self, node: str) -> Knowledge:
        """Learn that a worker has a new link, so that its next report counts whatever its number is.

        A restarted worker numbers its reports anew. Its last report stands until the next one comes.
        """
        known = self.states.get(node)
        return (
            self if known is None else evolve(self, states={**self.states, node: evolve(known, sequence=-1)})
        )

    def without(self, node: str) -> Knowledge:
        """Forget the report of a worker that is lost."""
        if node not in self.states:
            return self
        return evolve(self, states={name: states for name, states in self.states.items() if name != node})

    def served(self) -> dict[str, ServedModel]:
        """Return what is deployed, by deployment id."""
        return {model.id: model for model in self.table.models}

    def replicas(self) -> dict[str, list[tuple[str, ReplicaReport]]]:
        """Return the reported replicas by deployment id, each with the node id of its worker."""
        replicas: dict[str, list[tuple[str, ReplicaReport]]] = {}
        for node, states in self.states.items():
            for report in states.replicas:
                replicas.setdefault(report.id.deployment, []).append((node, report))
        return replicas

    def routes(self, *, patience: float) -> dict[str, Route]:
        """Return the route of each deployment that is served or still has replicas, by deployment id.

        Args:
            patience: See ``make_route``, in seconds.
        """
        served, replicas = self.served(), self.replicas()
        return {
            name: make_route(name, served.get(name), replicas.get(name, ()), patience=patience)
            for name in sorted(served.keys() | replicas.keys())
        }

    def node_of(self, replica: ReplicaKey) -> str | None:
        """Return the node id of the worker that reports a replica, or None."""
        for node, states in self.states.items():
            if any(report.id.key == replica for report in states.replicas):
                return node
        return None
