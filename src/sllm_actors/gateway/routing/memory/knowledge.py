"""All that a gateway has been told by the head and by the workers, found by deployment."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.engines import life_end
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.loss import Lost, link_lost, loss_of
from sllm_actors.gateway.routing.route import Route, make_route
from sllm_actors.serving.messages import ServedModel, WorkerAddress

Touched = set[str]
"""Ids of deployments whose route may have changed."""


class Knowledge:
    """The deployments and workers that the head has told of, and the replicas that workers have.

    A change costs what it touches; what it may have changed is returned. It outlives the gateway's actor.

    What the head says is gone is gone. What is only missing when the head has told all that it knows is
    *unnamed*: a head that has lost its store, or has not heard of all workers yet, knows too little. An
    unnamed deployment stays as long as a replica of it serves, an unnamed worker as long as it is linked.

    Attributes:
        served: What is deployed, by deployment id.
        addresses: Where workers are reached, by worker.
        doubted: The workers that may be gone; see ``doubt``.
    """

    def __init__(self) -> None:
        self.served: dict[str, ServedModel] = {}
        self.addresses: dict[str, WorkerAddress] = {}
        self.doubted: set[str] = set()
        self._nodes: dict[str, dict[ReplicaKey, ReplicaReport]] = {}
        self._deployments: dict[str, dict[tuple[str, ReplicaKey], ReplicaReport]] = {}
        self._unnamed: set[str] = set()
        self._unnamed_workers: set[str] = set()
        self._wholes: dict[str, int] = {}
        self._last_whole = 0
        self._last_lost = ("", "")

    def serve(
        self, models: Iterable[ServedModel] = (), gone: Iterable[str] = (), *, missing: Iterable[str] = ()
    ) -> Touched:
        """Learn what is deployed, the ids of what no longer is, and those of what the head does not name."""
        touched: Touched = set()
        for name in missing:
            if name in self.served:
                self._unnamed.add(name)
                touched |= self._drop_unserved((name,))
        for model in models:
            self._unnamed.discard(model.id)
            if self.served.get(model.id) != model:
                self.served[model.id] = model
                touched.add(model.id)
        for name in gone:
            self._unnamed.discard(name)
            if self.served.pop(name, None) is not None:
                touched.add(name)
        return touched

    def locate(
        self,
        addresses: Iterable[WorkerAddress] = (),
        gone: Iterable[str] = (),
        *,
        missing: Iterable[str] = (),
    ) -> tuple[tuple[WorkerAddress, ...], tuple[str, ...]]:
        """Learn addresses of workers, which workers are gone, and which the head does not name.

        Returns:
            The addresses that are new, and the workers whose address is no longer known.
        """
        new = tuple(each for each in addresses if self.addresses.get(each.node) != each)
        self.addresses.update({each.node: each for each in new})
        self._unnamed_workers.difference_update(each.node for each in addresses)
        dropped = list(gone)
        for node in missing:
            if node in self._nodes:
                self._unnamed_workers.add(node)
            else:
                dropped.append(node)
        return new, tuple(node for node in dropped if self._unlocate(node))

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
        self._drop_unserved(touched)
        return touched

    def deaths_in(self, node: str, reports: Iterable[ReplicaReport]) -> tuple[ReplicaId, ...]:
        """Return the engines of a worker that have died, by reports that ``report`` has not learnt yet.

        Only engines that served, as their worker has said over the link that stands now, are among them.
        """
        replicas = self._nodes.get(node, {})
        found = []
        for report in reports:
            before = replicas.get(report.id.key)
            if before is not None and not life_end.is_over(before.id, before):
                found += [before.id] if life_end.died(before.id, report) else []
        return tuple(found)

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

    def lose(self, node: str, reason: str = "") -> tuple[Touched, bool]:
        """Forget the replicas of a worker that cannot be reached, for a ``reason`` in a few words.

        Returns:
            What is touched, and whether the worker's address is no longer known either.
        """
        self._last_lost = (node, reason)
        self.doubted.discard(node)
        self._wholes.pop(node, None)
        lost = self._nodes.pop(node, {})
        for key in lost:
            self._drop(node, key)
        touched = {key.deployment for key in lost}
        self._drop_unserved(touched)
        return touched, node in self._unnamed_workers and self._unlocate(node)

    def doubt(self, node: str, *, doubted: bool) -> Touched:
        """Learn that a worker may be gone, or that it is there after all: what is under way there goes on."""
        (self.doubted.add if doubted else self.doubted.discard)(node)
        return {key.deployment for key in self._nodes.get(node, ())}

    def nodes(self) -> tuple[str, ...]:
        """Return the workers that have said something since their link came up."""
        return tuple(self._nodes)

    def keys_of(self, node: str) -> tuple[ReplicaKey, ...]:
        """Return the replicas that a worker has."""
        return tuple(self._nodes.get(node, ()))

    def is_linked(self, node: str) -> bool:
        """Return whether a worker has said anything since its link came up."""
        return node in self._nodes

    def lost(self, node: str, life: ReplicaId) -> Lost | None:
        """Return how an engine life on a worker was lost, or None if it goes on."""
        replicas = self._nodes.get(node)
        if replicas is not None:
            return loss_of(life, replicas.get(life.key))
        last, reason = self._last_lost
        return link_lost((reason if last == node else "") or "it is not linked")

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
        return make_route(name, served, reports, patience=patience, doubted=self.doubted)

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

    def _unlocate(self, node: str) -> bool:
        self._unnamed_workers.discard(node)
        return self.addresses.pop(node, None) is not None

    def _drop_unserved(self, names: Iterable[str]) -> Touched:
        """Drop those deployments that are unnamed and of which no replica serves, and return them."""
        if not self._unnamed:
            return set()
        dropped = {name for name in names if name in self._unnamed and not self._is_served(name)}
        for name in dropped:
            self._unnamed.discard(name)
            del self.served[name]
        return dropped

    def _is_served(self, name: str) -> bool:
        served, reports = self.served[name], self._deployments.get(name, {})
        return any(
            key.uid == served.uid
            and key.revision in served.revisions
            and report.state in (ReplicaState.READY, ReplicaState.ASLEEP)
            for (_, key), report in reports.items()
        )

    def _drop(self, node: str, key: ReplicaKey) -> None:
        replicas = self._deployments[key.deployment]
        del replicas[node, key]
        if not replicas:
            del self._deployments[key.deployment]
