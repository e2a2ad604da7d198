"""Checking the indices of a picture against what they are made from, a little at a time.

A step touches only what its event touches. So a fault in an index would stay, and grow: the audit goes round
all nodes and deployments, and says what does not agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.messages import Order

from .deployment import Deployment, order_for
from .deployment_state import spoken_for
from .fleet import WORKER
from .node import KnownNode, Link
from .picture import Picture
from .planning.route import route_of
from .replica import KnownReplica, Told


class Audit:
    """Goes round a picture, one node or deployment after another. It changes nothing.

    Args:
        picture: What to check; it may change between two slices.
        orders: Returns the orders that a worker has, by its node id, as they follow from all effects.

    Attributes:
        round_is_over: Whether the last slice has reached the end: the next one begins anew.
    """

    def __init__(self, picture: Picture, orders: Callable[[str], Mapping[ReplicaKey, Order]]) -> None:
        self._picture = picture
        self._orders = orders
        self._round: Iterator[str | KnownNode] = iter(())
        self.round_is_over = True

    def slice(self, limit: int) -> list[str]:
        """Check the next ``limit`` nodes and deployments, and return what is wrong: one sentence each.

        Deployments that are still to be planned are passed over.
        """
        found: list[str] = []
        if self.round_is_over:
            nodes, uids = list(self._picture.fleet.nodes.values()), list(self._picture.catalogue.by_uid)
            self._round = iter([*nodes, *uids])
            found += self._whole()
        subjects = list(islice(self._round, limit))
        self.round_is_over = len(subjects) < limit
        for each in subjects:
            if isinstance(each, KnownNode):
                found += self._node(each)
            elif (deployment := self._picture.catalogue.by_uid.get(each)) is not None:
                found += self._deployment(deployment)
        return found

    def everything(self) -> list[str]:
        """Check all nodes and deployments once."""
        self.round_is_over = True
        return self.slice(1 + len(self._picture.fleet.nodes) + len(self._picture.catalogue.by_uid))

    # ---- inside

    def _whole(self) -> Iterator[str]:
        catalogue, fleet = self._picture.catalogue, self._picture.fleet
        if len(catalogue.ids) != len(catalogue.by_uid) or len(catalogue.by_id) != len(catalogue.by_uid):
            yield "the catalogue has not as many ids as deployments"
        if len(fleet.room) != sum(node.takes_replicas for node in fleet.nodes.values()):
            yield "not all workers in the index of room take replicas, or the other way round"
        if sum(self._picture.states.by_state().values()) != len(catalogue.by_uid):
            yield "not all deployments are counted in some state, or others are, too"
        if any(claim.uid not in catalogue.by_uid for claim in self._picture.planner.evictor.claims):
            yield "room is kept for a deployment that is gone"
        if len(self._picture.planner.waiting) > len(catalogue.by_uid):
            yield "more wait for room than there are deployments"

    def _node(self, node: KnownNode) -> Iterator[str]:
        fleet = self._picture.fleet
        if fleet.nodes.get(node.id) is not node:
            return  # forgotten meanwhile
        entry = (node.gpus > 0, node.free, len(node.replicas)) if node.takes_replicas else None
        if fleet.room.get(node.id) != entry:
            yield f"the index of room has {fleet.room.get(node.id)} for {node.id}, which has {entry}"
        if (node.link is Link.UP and node.role == WORKER) != (node.id in fleet.workers_up):
            yield f"{node.id} is {node.link}, and the index of linked workers says otherwise"
        if node.draining != (node.id in fleet.draining):
            yield f"{node.id} is in the wrong index of those that are drained"
        orders = self._orders(node.id)
        if unknown := orders.keys() - node.replicas.keys():
            yield f"{node.id} has an order for {min(unknown)}, which it should not have"
        for key, replica in node.replicas.items():
            if key != replica.key or replica.node != node.id:
                yield f"{node.id} has {replica.key} of {replica.node} as {key}"
            elif orders.get(key) != self._order(replica):
                yield f"{node.id} has another order for {key} than the one that it should have"

    def _order(self, replica: KnownReplica) -> Order | None:
        key = replica.key
        if replica.ordered is Told.STOP:
            return order_for(None, replica)
        deployment = self._picture.catalogue.by_uid.get(key.uid)
        if deployment is None or deployment.replicas.get(key) is not replica:
            return None
        revision = deployment.revisions.get(key.revision)
        return None if revision is None else order_for(revision, replica)

    def _deployment(self, deployment: Deployment) -> Iterator[str]:
        catalogue, planner, name = self._picture.catalogue, self._picture.planner, deployment.id
        if catalogue.by_id.get(name) is not deployment:
            yield f"{name} is not found by its id"
        for key, replica in deployment.replicas.items():
            node = self._picture.fleet.nodes.get(replica.node)
            if node is None or node.replicas.get(key) is not replica:
                yield f"{name} has {key} on {replica.node}, which has it not"
        if self._picture.states.state(deployment.uid) is not spoken_for(deployment)[0]:
            yield f"{name} is counted in another state than the one that it is in"
        if not self._picture.is_planned(deployment):
            return
        if deployment.wait is None and planner.evictor.claims.get(deployment.uid) is not None:
            yield f"room is kept for {name}, which waits for none"
        if (deployment.wait is not None) != (queued := deployment.uid in planner.waiting):
            yield f"{name} {'is' if queued else 'is not'} in the queues of those that wait for room"
        if deployment.route != (None if deployment.deleting else route_of(deployment)):
            yield f"gateways were told another route of {name} than the one that it has"
        if deployment.written != deployment.record:
            yield f"the store was told another record of {name} than the one that it has"
