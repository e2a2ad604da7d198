"""Whom the gateway's actor follows: the head, for what it tells all gateways, and workers, for replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import structlog
from attrs import define, field

from sllm_actors.actors import ActorSystem
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.messages import Beat, E, K
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.serving.keys.messages import KnownKey
from sllm_actors.serving.messages import (
    CONTROLLER,
    WORKER,
    DeathKey,
    EngineDeath,
    ServedModel,
    WorkerAddress,
)
from sllm_actors.serving.streams import (
    ADDRESSES,
    DEATHS,
    KEYS,
    REPLICAS,
    ROUTES,
    AddressesDifference,
    AddressesPage,
    DeathsDifference,
    DeathsPage,
    KeysDifference,
    KeysPage,
    ReplicasDifference,
    ReplicasPage,
    RoutesDifference,
    RoutesPage,
)
from sllm_actors.transport import Peer

from .memory.keys import KnownKeys
from .memory.knowledge import Knowledge, Touched
from .node_links import NodeLinks

log = structlog.get_logger("sllm_actors.gateway")

Published = (
    ReplicasDifference
    | ReplicasPage
    | RoutesDifference
    | RoutesPage
    | AddressesDifference
    | AddressesPage
    | DeathsDifference
    | DeathsPage
    | KeysDifference
    | KeysPage
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
        died: Engines that have ended by themselves, as the worker says to which the link stands.
        deaths: What the head tells of engines that died, at any gateway.
        deaths_gone: What it tells of no longer.
        served: Whether what the head says of deployments has changed.
        complete: Whether the head has told of all deployments.
        located: Workers whose address has changed, or is new.
        gone: Workers that the head no longer knows.
        keys: Whether the keys that open the gateway have changed.
    """

    touched: Touched = field(factory=set)
    anew: Touched = field(factory=set)
    died: tuple[ReplicaId, ...] = ()
    deaths: tuple[EngineDeath, ...] = ()
    deaths_gone: tuple[DeathKey, ...] = ()
    served: bool = False
    complete: bool = False
    located: tuple[WorkerAddress, ...] = ()
    gone: tuple[str, ...] = ()
    keys: bool = False


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
    deaths: Subscription[DeathKey, EngineDeath]
    keys: Subscription[str, KnownKey]


class Following:
    """Keeps ``Knowledge`` up to date with what the head and the workers publish.

    All methods are for the turns of the gateway's actor. Replicas are known as long as their worker is
    linked; what the head has said is known until a head says something else.

    Args:
        system: The node's actor system.
        knowledge: What earlier followers, or the snapshot, have left in it stays until a publisher has told
            the whole: then what that does not have is removed, or unnamed.
        keys: The same of keys; one that the whole does not have is removed.
    """

    def __init__(self, system: ActorSystem, knowledge: Knowledge, keys: KnownKeys) -> None:
        self._system = system
        self._known = knowledge
        self._keys = keys
        self._head: _FollowedHead | None = None
        self._workers: dict[str, _Followed] = {}

    def up(self, peer: Peer) -> News:
        """Follow a head or a worker: its link has come up. Doing so twice for one link changes nothing."""
        here, known, news = self._system.node, self._known, News()
        if peer.role == "head" and not self._follows_head(peer):
            log.info("head.up", node=peer.node)
            controller = self._system.named(CONTROLLER, peer.node)
            routes = Subscription(Follower(ROUTES, here, known=known.served), controller)
            addresses = Subscription(Follower(ADDRESSES, here, known=known.addresses), controller)
            deaths = Subscription(Follower(DEATHS, here), controller)
            keys = Subscription(Follower(KEYS, here, known=self._keys.names()), controller)
            self._head = _FollowedHead(peer, routes, addresses, deaths, keys)
            self._serve(routes.begin(), news)
            self._locate(addresses.begin(), news)
            self._hear(deaths.begin(), news)
            self._learn(keys.begin(), news)
        elif peer.role == "worker" and not self._follows(peer):
            log.info("worker.up", node=peer.node)
            worker = self._system.named(WORKER, peer.node)
            follower = Follower(REPLICAS, here, known=known.keys_of(peer.node))
            followed = self._workers[peer.node] = _Followed(peer, Subscription(follower, worker))
            self._report(followed, followed.replicas.begin(), news)
        return news

    def lost(self, peer: Peer, reason: str) -> News:
        """Forget the replicas of a worker whose link is lost; of one that is back already, nothing."""
        return self._lose(peer.node, reason) if self._follows(peer) else News()

    def doubted(self, peer: Peer, *, doubted: bool) -> News:
        """Send a worker no more requests than must be, or again: its connection was closed, or is back."""
        return News(self._known.doubt(peer.node, doubted=doubted)) if self._follows(peer) else News()

    def look(self, links: NodeLinks) -> list[News]:
        """Correct whom it follows by who is linked now: news of a link may have been lost."""
        linked, head = {peer.node: peer for peer in links.peers()}, links.head()
        gone = {*self._workers, *self._known.nodes()} - linked.keys()
        news = [self._lose(node, "its link is gone") for node in sorted(gone)]
        back = sorted(self._known.doubted - links.doubted())
        news += [News(self._known.doubt(node, doubted=False)) for node in back]
        return news + [self.up(peer) for peer in linked.values() if peer.role != "head" or peer.node == head]

    def take(self, message: Published) -> News:
        """Take what a publisher sent. What comes from anyone who is not followed changes nothing."""
        news, worker, head = News(), self._workers.get(message.node), self._head
        published: Any = message  # each subscription passes over what is of another stream
        if worker is not None:
            self._report(worker, worker.replicas.take(published), news)
        if head is not None and head.peer.node == message.node:
            self._serve(head.routes.take(published), news)
            self._locate(head.addresses.take(published), news)
            self._hear(head.deaths.take(published), news)
            self._learn(head.keys.take(published), news)
        return news

    def _report(self, worker: _Followed, changes: Changes[ReplicaKey, ReplicaReport], news: News) -> None:
        node = worker.peer.node
        _warn(changes, node)
        if changes.put or changes.removed:
            news.died = self._known.deaths_in(node, changes.put)
            news.touched |= self._known.report(node, changes.put, changes.removed)
        if changes.whole:
            news.anew |= self._known.report_whole(node)

    def _serve(self, changes: Changes[str, ServedModel], news: News) -> None:
        _warn(changes, "the head")
        gone, missing = ((), changes.removed) if changes.whole else (changes.removed, ())
        touched = self._known.serve(changes.put, gone, missing=missing)
        news.touched |= touched
        news.served, news.complete = bool(touched), changes.whole

    def _locate(self, changes: Changes[str, WorkerAddress], news: News) -> None:
        _warn(changes, "the head")
        gone, missing = ((), changes.removed) if changes.whole else (changes.removed, ())
        news.located, news.gone = self._known.locate(changes.put, gone, missing=missing)

    def _hear(self, changes: Changes[DeathKey, EngineDeath], news: News) -> None:
        _warn(changes, "the head")
        news.deaths, news.deaths_gone = changes.put, changes.removed

    def _learn(self, changes: Changes[str, KnownKey], news: News) -> None:
        _warn(changes, "the head")
        news.keys = self._keys.learn(changes.put, changes.removed)

    def _follows(self, peer: Peer) -> bool:
        followed = self._workers.get(peer.node)
        return followed is not None and followed.peer.incarnation == peer.incarnation

    def _follows_head(self, peer: Peer) -> bool:
        head = self._head
        if head is None:
            return False
        return (head.peer.node, head.peer.incarnation) == (peer.node, peer.incarnation)

    def _lose(self, node: str, reason: str) -> News:
        log.warning("worker.lost", node=node, reason=reason)
        self._workers.pop(node, None)
        touched, forgotten = self._known.lose(node, reason)
        return News(touched, gone=(node,) if forgotten else ())


def _warn(changes: Changes[K, E], publisher: str) -> None:
    if changes.refused:
        log.warning("stream.refused", publisher=publisher, reason=changes.refused)
