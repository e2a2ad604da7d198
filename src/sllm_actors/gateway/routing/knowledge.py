"""All that a gateway has been told by the head and by the workers, found by deployment."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.messages import ServedModel, WorkerAddress

from .route import Route, make_route

Touched = set[str]
"""Ids of deployments whose route may have changed."""


class Knowledge:
    """The deployments and workers that the head has told of, and the replicas that workers have.

    A change costs what it touches; what it may have changed is returned. It outlives the gateway's actor.

    Attributes:
        served: What is deployed, by deployment id.
        addresses: Where workers are reached, by worker.
    """

    def __init__(self) -> None:
        self.served: dict[str, ServedModel] = {}
        self.addresses: dict[str, WorkerAddress] = {}
        self._nodes: dict[str, dict[ReplicaKey, ReplicaReport]] = {}
        self._deployments: dict[str, dict[tuple[str, ReplicaKey], ReplicaReport]] = {}
        self._wholes: dict[str, int] = {}
        self._last_whole = 0

    def serve(self, models: Iterable[ServedModel] = (), gone: Iterable[str] = ()) -> Touched:
        """Learn what is deployed, and the ids of what no longer is."""
        touched: Touched = set()
        for model in models:
            if self.served.get(model.id) != model:
                self.served[model.id] = model
                touched.add(model.id)
        for name in gone:
            if self.served.pop(name, None) is not None:
                touched.add(name)
        return touched

    def locate(
        self, addresses: Iterable[WorkerAddress] = (), gone: Iterable[str] = ()
    ) -> tuple[tuple[WorkerAddress, ...], tuple[str, ...]]:
        """Learn addresses of workers, and which workers are gone; return what of that was not known."""
        new = tuple(each for each in addresses if self.addresses.get(each.node) != each)
        self.addresses.update({each.node: each for each in new})
        return new, tuple(node for node in gone if self.addresses.pop(node, None) is not None)

    def report(
        self, node: str, reports: Iterable[ReplicaReport] = (), gone: Iterable[ReplicaKey] = ()
    ) -> Touched:
        """Learn what a worker says of its replicas, and which it has no longer."""
        touched: Touched = set()
        replicas = self._nodes.setdefault(node, {})
        for report in reports:
            key = report.id.key
            replicas[key] = report
            self._deployments.setdefault(key.deployment, {})[node, key] = report
            touched.add(key.deployment)
        for key in gone:
            if replicas.pop(key, None) is not None:
                self._drop(node, key)
                touched.add(key.deployment)
        return touched

    def report_whole(self, node: str) -> Touched:
        """Learn that a worker has told of all its replicas; return the deployments that these are of."""
        self._last_whole += 1
        self._wholes[node] = self._last_whole
        return {key.deployment for key in self._nodes.setdefault(node, {})}

    def whole_of(self, node: str) -> int:
        """Return a number that is another each time that a worker has told of all its replicas.

        The worker may have begun anew then, and forgotten what this gateway had told it.
        """
        return self._wholes.get(node, 0)

    def lose(self, node: str) -> Touched:
        """Forget the replicas of a worker that cannot be reached."""
        self._wholes.pop(node, None)
        lost = self._nodes.pop(node, {})
        for key in lost:
            self._drop(node, key)
        return {key.deployment for key in lost}

    def nodes(self) -> tuple[str, ...]:
        """Return the workers that have said something since their link came up."""
        return tuple(self._nodes)

    def keys_of(self, node: str) -> tuple[ReplicaKey, ...]:
        """Return the replicas that a worker has."""
        return tuple(self._nodes.get(node, ()))

    def is_linked(self, node: str) -> bool:
        """Return whether a worker has said anything since its link came up."""
        return node in self._nodes

    def names(self) -> Touched:
        """Return the ids of all deployments that are served, or have replicas."""
        return self.served.keys() | self._deployments.keys()

    def route(self, name: str, *, patience: float) -> Route | None:
        """Return the route of a deployment; None if it is not served and has no replica.

        Args:
            name: The deployment's id.
            patience: See ``make_route``, in seconds.
        """
        served, replicas = self.served.get(name), self._deployments.get(name, {})
        if served is None and not replicas:
            return None
        reports = [(node, report) for (node, _), report in replicas.items()]
        return make_route(name, served, reports, patience=patience)

    def find(self, deployment: str, revision: int, number: int) -> tuple[str, ReplicaKey] | None:
        """Return the worker that has a replica, and its key; None if none has.

        People know no ``uid``: of several replicas of that revision and number, the one of the deployment
        that is served now is meant.
        """
        served = self.served.get(deployment)
        found = None
        for node, key in self._deployments.get(deployment, {}):
            if (key.revision, key.number) == (revision, number):
                if served is None or key.uid == served.uid:
                    return node, key
                found = found or (node, key)
        return found

    def _drop(self, node: str, key: ReplicaKey) -> None:
        replicas = self._deployments[key.deployment]
        del replicas[node, key]
        if not replicas:
            del self._deployments[key.deployment]
