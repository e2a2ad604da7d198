"""The head and the workers around a gateway: they publish what a test says, in the way of real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from attrs import evolve

from sllm_actors.actors import Address, Envelope, Incarnation, NodeId, PeerDown, ReplyTo
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.differences.feed import Beats, Feed
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.messages import AskPage, Beat, Difference, Page
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.keys.messages import KnownKey
from sllm_actors.serving.messages import (
    GATEWAY,
    Demand,
    EngineDeath,
    FindResponse,
    ResponseFound,
    ResponseMade,
    ServedModel,
    Withdrawn,
    WorkerAddress,
)
from sllm_actors.serving.sticky_ids import StickyIds
from sllm_actors.serving.streams import (
    ADDRESSES,
    DEATHS,
    DEMAND,
    KEYS,
    REPLICAS,
    ROUTES,
    AskAddresses,
    AskDeaths,
    AskKeys,
    AskReplicas,
    AskRoutes,
    DemandDifference,
)
from sllm_actors.testing import TestProbe, TestSystem
from sllm_actors.transport import Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp

HERE = NodeId("gateway-1")


class Voice:
    """How a played node speaks to the gateway: as a ref does, but that the network may lose it."""

    def __init__(self, nodes: PlayedNodes, node: str) -> None:
        self._nodes = nodes
        self._node = node

    def tell(self, message: Any) -> None:
        if self._node in self._nodes.linked and not self._nodes.loses(message):
            self._nodes.said += 1
            self._nodes.system.named(GATEWAY).tell(message)


class PlayedHead:
    """One life of a head: its tables for gateways, and the demand that it has heard of.

    Attributes:
        demands: By deployment, as the gateway says.
        demand_messages: How many differences of demand came.
        told: What they and the pages said, in order.
    """

    def __init__(self, voice: Voice, node: str, life: int, *, page: int) -> None:
        self.demands: dict[str, Demand] = {}
        self.demand_messages = 0
        self.told: list[Changes[str, Demand]] = []
        self._demand = Follower[str, Demand](DEMAND, node)
        self._voice: Any = voice
        self.beats = Beats()
        self.routes = Feed(Publisher(ROUTES, node, life, most_entries=page), self.beats)
        self.addresses = Feed(Publisher(ADDRESSES, node, life, most_entries=page), self.beats)
        self.deaths = Feed(Publisher(DEATHS, node, life, most_entries=page), self.beats)
        self.keys = Feed(Publisher(KEYS, node, life, most_entries=page), self.beats)

    def serve(self, models: Iterable[ServedModel]) -> None:
        _replace(self.routes, models)

    def locate(self, workers: Iterable[WorkerAddress]) -> None:
        _replace(self.addresses, workers)

    def tell_of(self, deaths: Iterable[EngineDeath]) -> None:
        _replace(self.deaths, deaths)

    def let_in(self, keys: Iterable[KnownKey]) -> None:
        _replace(self.keys, keys)

    def follow(self) -> None:
        self.keys.follow(HERE, self._voice)
        self.routes.follow(HERE, self._voice)
        self.addresses.follow(HERE, self._voice)
        self.deaths.follow(HERE, self._voice)

    @property
    def follows(self) -> int | None:
        """Return which life of the gateway's actor it has all demand of."""
        position = self._demand.position
        return position[0] if self._demand.complete and position is not None else None

    def hear(self, said: Any) -> None:
        """Take what the gateway publishes."""
        self.demand_messages += isinstance(said, DemandDifference)
        changes = self._demand.take(said)
        if changes.put or changes.removed:
            self.told.append(changes)
        self.demands.update({each.deployment: each for each in changes.put})
        for name in changes.removed:
            del self.demands[name]
        if changes.ask is not None:
            self._voice.tell(changes.ask)

    def unfollow(self) -> None:
        self.keys.unfollow(HERE)
        self.routes.unfollow(HERE)
        self.addresses.unfollow(HERE)
        self.deaths.unfollow(HERE)

    def answer(self, question: AskPage[Any]) -> None:
        if isinstance(question, AskRoutes):
            self.routes.answer(question)
        elif isinstance(question, AskAddresses):
            self.addresses.answer(question)
        elif isinstance(question, AskDeaths):
            self.deaths.answer(question)
        elif isinstance(question, AskKeys):
            self.keys.answer(question)


class PlayedWorker:
    """One life of a worker: its table of replicas, and what it has heard of them."""

    def __init__(self, voice: Voice, node: str, life: int, *, page: int) -> None:
        self._voice: Any = voice
        self.beats = Beats()
        self.replicas = Feed[ReplicaKey, ReplicaReport](
            Publisher(REPLICAS, node, life, most_entries=page), self.beats
        )

    def have(self, replicas: Iterable[ReplicaReport]) -> None:
        _replace(self.replicas, replicas)

    def follow(self) -> None:
        self.replicas.follow(HERE, self._voice)

    def unfollow(self) -> None:
        self.replicas.unfollow(HERE)

    def answer(self, question: AskPage[Any]) -> None:
        if isinstance(question, AskReplicas):
            self.replicas.answer(question)


class PlayedNodes:
    """All nodes but the gateway, and the ``Network`` between them and it.

    Whatever the gateway says to a node reaches it if they are linked and it is not lost. A node asks back
    nothing: its probe gets what is no part of a stream, if it has one; without one, a worker answers each
    ``Withdrawn``, and knows of stored responses, and nothing else.

    Args:
        page: Entries of a page, and of a difference, at most.

    Attributes:
        linked: The nodes that are linked to the gateway.
        doubted: Those of them that may be gone.
        loses: Tells whether the network loses a message, in either direction.
        heard: What was told and asked, with the node, oldest first.
        said: How many messages they have sent.
    """

    system: TestSystem

    def __init__(self, *, page: int = 256) -> None:
        self._page = page
        self._lives = count(1)
        self._played: dict[str, PlayedHead | PlayedWorker] = {}
        self._probes: dict[str, TestProbe] = {}
        self._made: dict[str, StickyIds] = {}
        self.linked: dict[str, Peer] = {}
        self.doubted: set[NodeId] = set()
        self.loses: Callable[[Any], bool] = lambda _message: False
        self.heard: list[tuple[str, Any]] = []
        self.said = 0
        self.head = self.begin_head()

    def attach(self, system: TestSystem) -> None:
        """Be the rest of the cluster of this gateway; nobody is linked to it yet."""
        self.linked.clear()
        self._probes.clear()
        self.system = system
        system.attach(self)

    async def probe(self, node: str) -> TestProbe:
        """Let a test answer what a node is asked."""
        if node not in self._probes:
            self._probes[node] = await self.system.probe(f"played {node}")
        return self._probes[node]

    # ---- nodes

    def begin_head(self, node: str = "head") -> PlayedHead:
        """Let a head begin a new life, which knows nothing yet; it is ``head`` from now on.

        A link to a life before of the same node is to be lost first.
        """
        self.head = PlayedHead(Voice(self, node), node, next(self._lives), page=self._page)
        self._played[node] = self.head
        return self.head

    def worker(self, node: str) -> PlayedWorker:
        """Return a worker; it begins its first life when it is named first."""
        found = self._played.get(node)
        return found if isinstance(found, PlayedWorker) else self.begin_worker(node)

    def begin_worker(self, node: str) -> PlayedWorker:
        """Let the actor of a worker begin a new life, which has no replicas; a link to the node stays."""
        worker = PlayedWorker(Voice(self, node), node, next(self._lives), page=self._page)
        self._played[node] = worker
        if node in self.linked:
            worker.follow()
        return worker

    def beat(self) -> None:
        """Let a second pass for all who publish."""
        for played in self._played.values():
            for _ in range(10):
                played.beats.tick()

    # ---- links

    @property
    def linked_head(self) -> NodeId | None:
        """The head that was linked last, if it still is."""
        heads = [peer.node for peer in self.linked.values() if peer.role == "head"]
        return heads[-1] if heads else None

    def peers(self) -> tuple[Peer, ...]:
        """Return the nodes that are linked."""
        return tuple(self.linked.values())

    def link(self, node: str, role: str, *, heard: bool = True) -> Peer:
        """Link a node, if it is not linked; ``heard``: whether the gateway's actor hears of that."""
        if node in self.linked:
            return self.linked[node]
        peer = Peer(NodeId(node), role, Incarnation(next(self._lives), 0), "127.0.0.1", outbound=True)
        self.linked[node] = peer
        if heard:
            self.system.named(GATEWAY).tell(PeerUp(peer))
        played = self.head if role == "head" else self.worker(node)
        played.follow()
        return peer

    def lose(self, node: str, *, heard: bool = True) -> PeerLost:
        """Lose the link to a node, and return what the gateway's actor hears of it, now or later."""
        lost = PeerLost(self.linked.pop(node), "closed by peer")
        self._played[node].unfollow()
        if heard:
            self.system.named(GATEWAY).tell(lost)
        return lost

    def doubt(self, node: str) -> None:
        """Close the connection of a node, which may come back."""
        self.doubted.add(NodeId(node))
        self.system.named(GATEWAY).tell(PeerDoubted(self.linked[node], "closed by peer"))

    def trust(self, node: str, *, heard: bool = True) -> None:
        """Let it come back; ``heard`` as in ``link``."""
        self.doubted.discard(NodeId(node))
        if heard:
            self.system.named(GATEWAY).tell(PeerTrusted(self.linked[node]))

    # ---- actors.Network

    def tell(self, envelope: Envelope) -> None:
        self._reach(envelope, None)

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        self._reach(envelope, reply_to)
        return lambda: None

    def monitor(self, target: Address, watch: int) -> None:
        raise NotImplementedError

    def demonitor(self, target: Address, watch: int) -> None:
        raise NotImplementedError

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        raise NotImplementedError

    def _reach(self, envelope: Envelope, reply_to: ReplyTo | None) -> None:
        node, message = envelope.target.node, envelope.message
        if node not in self.linked or self.loses(message):
            if reply_to is not None:
                reply_to(PeerDown(node, "the lane was lost"))
        elif isinstance(message, AskPage):
            self._played[node].answer(message)
        elif isinstance(message, Difference | Page | Beat):
            played = self._played[node]
            assert isinstance(played, PlayedHead)
            played.hear(message)
        else:
            self.heard.append((node, message))
            if node in self._probes:
                probe = Address(HERE, None, f"played {node}")
                self.system.on_envelope(node, evolve(envelope, target=probe), reply_to)
            elif isinstance(message, ResponseMade):
                self._made.setdefault(node, StickyIds()).remember(message.made, message.id)
            elif isinstance(message, FindResponse) and reply_to is not None:
                reply_to(ResponseFound(self._made.get(node, StickyIds()).find(message.made)))
            elif isinstance(message, Withdrawn) and reply_to is not None:
                reply_to(None)


def _replace(feed: Feed[Any, Any], entries: Iterable[Any]) -> None:
    """Let the feed have exactly these entries."""
    publisher = feed.publisher
    wanted = {publisher.stream.key_of(entry): entry for entry in entries}
    for key in [key for key in publisher._table if key not in wanted]:
        publisher.remove(key)
    for entry in wanted.values():
        publisher.put(entry)
    feed.publish()
