"""Whom the gateway's actor follows: the head, for routes and addresses, and each worker, for its replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import structlog
from attrs import define, field

from sllm_actors.actors import ActorSystem
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.messages import Beat, E, K
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.serving.messages import CONTROLLER, WORKER, ServedModel, WorkerAddress
from sllm_actors.serving.streams import (
    ADDRESSES,
    REPLICAS,
    ROUTES,
    AddressesDifference,
    AddressesPage,
    ReplicasDifference,
    ReplicasPage,
    RoutesDifference,
    RoutesPage,
)
from sllm_actors.transport import Peer

from .knowledge import Knowledge, Touched

log = structlog.get_logger("sllm_actors.gateway")

Published = (
    ReplicasDifference
    | ReplicasPage
    | RoutesDifference
    | RoutesPage
    | AddressesDifference
    | AddressesPage
    | Beat
)
"""What the publishers send."""

Peers: TypeAlias = Callable[[], Iterable[Peer]]
"""Returns the nodes that are linked now."""


@define
class News:
    """What has changed in ``Knowledge``.

    Attributes:
        touched: The deployments whose route may be another.
        anew: The deployments of a worker that may have forgotten what this gateway had told it.
        served: Whether what the head says of deployments has changed.
        located: Whether addresses of workers have changed.
    """

    touched: Touched = field(factory=set)
    anew: Touched = field(factory=set)
    served: bool = False
    located: bool = False


@define
class _Followed:
    """A worker that is linked, and what is followed there."""

    peer: Peer
    replicas: Subscription[ReplicaKey, ReplicaReport]


@define
class _FollowedHead:
    """The head that was linked last, and what is followed there."""

    peer: Peer
    routes: Subscription[str, ServedModel]
    addresses: Subscription[str, WorkerAddress]


class Following:
    """Keeps ``Knowledge`` up to date with what the head and the workers publish.

    All methods are for the turns of the gateway's actor. Replicas are known as long as their worker is
    linked; what the head has said is known until a head says something else.

    Args:
        system: The node's actor system.
        knowledge: What earlier followers, or the snapshot, have left in it stays until a publisher has told
            the whole: then what that does not have is removed.
    """

    def __init__(self, system: ActorSystem, knowledge: Knowledge) -> None:
        self._system = system
        self._known = knowledge
        self._head: _FollowedHead | None = None
        self._workers: dict[str, _Followed] = {}

    def up(self, peer: Peer) -> None:
        """Follow a head or a worker: a link to it has come up. Doing so twice for one link costs nothing."""
        here = self._system.node
        if peer.role == "head" and not self._follows_head(peer):
            controller = self._system.named(CONTROLLER, peer.node)
            routes = Subscription(Follower(ROUTES, here, known=self._known.served), controller)
            addresses = Subscription(Follower(ADDRESSES, here, known=self._known.addresses), controller)
            self._head = _FollowedHead(peer, routes, addresses)
            log.info("head.up", node=peer.node)
            routes.begin()
            addresses.begin()
        elif peer.role == "worker" and not self._follows(peer):
            worker = self._system.named(WORKER, peer.node)
            known = self._known.keys_of(peer.node)
            replicas = Subscription(Follower(REPLICAS, here, known=known), worker)
            self._workers[peer.node] = _Followed(peer, replicas)
            log.info("worker.up", node=peer.node)
            replicas.begin()

    def lost(self, peer: Peer, reason: str) -> Touched:
        """Forget the replicas of a worker whose link is lost; of one that is back already, nothing."""
        if not self._follows(peer):
            return set()
        return self._lose(peer.node, reason)

    def look(self, peers: Iterable[Peer], head: str | None) -> Touched:
        """Correct whom it follows by who is linked now: news of a link may have been lost.

        Args:
            peers: The nodes that are linked.
            head: The head whose link came up last, or None.
        """
        linked = {peer.node: peer for peer in peers}
        touched: Touched = set()
        for node in {*self._workers, *self._known.nodes()} - linked.keys():
            touched |= self._lose(node, "its link is gone")
        for peer in linked.values():
            if peer.role != "head" or peer.node == head:
                self.up(peer)
        return touched

    def take(self, message: Published) -> News:
        """Take what a publisher sent. What comes from anyone who is not followed changes nothing."""
        news, node, known = News(), message.node, self._known
        published: Any = message  # each subscription passes over what is of another stream
        worker = self._workers.get(node)
        if worker is not None:
            changes = _warned(worker.replicas.take(published), node)
            if changes.put or changes.removed:
                news.touched = known.report(node, changes.put, changes.removed)
            if changes.whole:
                news.anew = known.report_whole(node)
        head = self._head
        if head is not None and head.peer.node == node:
            said = _warned(head.routes.take(published), node)
            touched = known.serve(said.put, said.removed)
            news.touched |= touched
            where = _warned(head.addresses.take(published), node)
            news.served = bool(touched)
            news.located = known.locate(where.put, where.removed)
        return news

    def _follows(self, peer: Peer) -> bool:
        followed = self._workers.get(peer.node)
        return followed is not None and followed.peer.incarnation == peer.incarnation

    def _follows_head(self, peer: Peer) -> bool:
        head = self._head
        if head is None:
            return False
        return (head.peer.node, head.peer.incarnation) == (peer.node, peer.incarnation)

    def _lose(self, node: str, reason: str) -> Touched:
        log.warning("worker.lost", node=node, reason=reason)
        self._workers.pop(node, None)
        return self._known.lose(node)


def _warned(changes: Changes[K, E], node: str) -> Changes[K, E]:
    if changes.refused:
        log.warning("stream.refused", node=node, reason=changes.refused)
    return changes
