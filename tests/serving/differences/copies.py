"""Two real nodes over a network in memory: an actor that owns a table on one, its follower on the other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import trio
from attrs import define, field, frozen

from sllm_actors.actors import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Envelope,
    Incarnation,
    MailboxLimits,
    NodeId,
)
from sllm_actors.serving.differences.feed import TICK_INTERVAL, Beats, Feed
from sllm_actors.serving.differences.follower import Follower
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.testing import SimNet, TestSystem
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.transport import NodeIdentity, PeerLost, PeerUp, Transport, TransportSettings

from .kit import CATALOG, ITEMS, AskItems, Item, Name

PORT = 8001
SECRET = b"a secret of two nodes"
SETTINGS = TransportSettings(heartbeat=0.1, reconnect_first=0.02, reconnect_cap=0.2)
MAILBOX = MailboxLimits(messages=20)


@frozen
class Put:
    items: tuple[Item, ...]


@frozen
class Remove:
    keys: tuple[Name, ...]


@frozen
class Crash:
    pass


@frozen
class Busy:
    seconds: float


@frozen
class Tick:
    pass


class Owner(Actor):
    """Owns the items; like a worker that knows its replicas, it finds them again when it starts."""

    _lives = count(1)

    def __init__(self, node: Node) -> None:
        self._node = node
        self._beats = Beats()
        self._feed = Feed(Publisher(ITEMS, "owner", next(self._lives), most_entries=4), self._beats)

    async def started(self) -> None:
        for each in self._node.items.values():
            self._feed.publisher.put(each)
        for peer in self._node.transport.peers():
            self._follow(peer.node)
        self._feed.publish()
        self.context.after(TICK_INTERVAL, Tick())

    async def receive(self, message: Any) -> None:
        match message:
            case Put(items):
                for each in items:
                    self._node.items[each.name] = each
                    self._feed.publisher.put(each)
                self._feed.publish()
            case Remove(keys):
                for key in keys:
                    self._node.items.pop(key, None)
                    self._feed.publisher.remove(key)
                self._feed.publish()
            case AskItems():
                self._feed.answer(message)
            case PeerUp(peer):
                self._follow(peer.node)
            case PeerLost(peer, _):
                self._feed.unfollow(peer.node)
            case Tick():
                self.context.after(TICK_INTERVAL, message)
                self._beats.tick()
            case Busy(seconds):
                await anyio.sleep(seconds)
            case _:
                raise RuntimeError("crashed as told")

    def _follow(self, node: str) -> None:
        self._feed.follow(node, self.context.system.named("actor", NodeId(node)))


class Copier(Actor):
    """Follows the owner."""

    def __init__(self, node: Node) -> None:
        self._node = node
        node.items = {}
        owner = node.system.named("actor", NodeId("owner"))
        self._subscription = Subscription(Follower(ITEMS, node.name), owner)

    async def started(self) -> None:
        self._subscription.begin()

    async def receive(self, message: Any) -> None:
        match message:
            case PeerUp():
                self._subscription.begin()
            case PeerLost():
                pass
            case Busy(seconds):
                await anyio.sleep(seconds)
            case Crash():
                raise RuntimeError("crashed as told")
            case _:
                changes = self._subscription.take(message)
                assert not changes.refused
                for each in changes.put:
                    self._node.items[each.name] = each
                for key in changes.removed:
                    del self._node.items[key]


@define(eq=False)
class Node:
    """One node.

    Attributes:
        items: The table of its actor.
        events: What its transport told of the other node.
        lose: Tells of each message that it sends whether the network loses it.
    """

    name: str
    system: TestSystem
    transport: Transport
    actor: ActorRef
    items: dict[Name, Item] = field(factory=dict)
    events: list[PeerUp | PeerLost] = field(factory=list)
    lose: Callable[[Any], bool] = lambda _: False

    def tell(self, envelope: Envelope) -> None:
        if not self.lose(envelope.message):
            self.transport.tell(envelope)

    def heard(self, event: PeerUp | PeerLost) -> None:
        self.events.append(event)
        self.actor.tell(event)


class LossyNetwork:
    """``actors.network.Network`` of a node: its transport, which loses what the node says."""

    def __init__(self, node: Node) -> None:
        self.tell = node.tell
        self.ask = node.transport.ask
        self.monitor = node.transport.monitor
        self.demonitor = node.transport.demonitor
        self.down = node.transport.down


@define(eq=False)
class Pair:
    """The two nodes, linked."""

    net: SimNet
    owner: Node
    copier: Node

    def put(self, *items: Item) -> None:
        self.owner.actor.tell(Put(items))

    def remove(self, *keys: Name) -> None:
        self.owner.actor.tell(Remove(keys))

    @property
    def equal(self) -> bool:
        return self.owner.items == self.copier.items

    async def become_equal(self, within: float) -> float:
        """Wait until both tables are equal, and return for how long, in seconds of the simulated clock."""
        began = trio.current_time()
        await anyio.sleep(0.01)  # what was told is handled
        with anyio.move_on_after(within):
            while not self.equal:  # noqa: ASYNC110 - virtual time is free
                await anyio.sleep(0.01)
            return trio.current_time() - began
        raise AssertionError(f"not equal within {within} s: {self.owner.items} {self.copier.items}")

    def cut_data_lane(self, *, both: bool) -> None:
        """Reset the connection of the data lane, under a link that stands."""
        link = self.owner.transport._peer_table.links.get(NodeId("copier"))
        if link is not None and link.lane is not None:
            stream: Any = link.lane.connection._stream
            self.net.cut(getattr(stream, "_stream", stream), both=both)

    @property
    def losses(self) -> int:
        return sum(isinstance(event, PeerLost) for event in self.owner.events + self.copier.events)


@asynccontextmanager
async def pair(seed: int) -> AsyncIterator[Pair]:
    net = SimNet(random.Random(seed), user_timeout=SETTINGS.budget)
    async with anyio.create_task_group() as background:
        background.start_soon(net.run)
        async with (
            _node(net, "owner", "head", Owner) as owner,
            _node(net, "copier", "worker", Copier) as copier,
        ):
            copier.transport.dial("owner", PORT)
            both = Pair(net, owner, copier)
            with trio.fail_after(5):
                while not (owner.events and copier.events):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            yield both
        background.cancel_scope.cancel()


@asynccontextmanager
async def _node(net: SimNet, name: str, role: str, actor: Callable[[Node], Actor]) -> AsyncIterator[Node]:
    counters = count(2)
    system = TestSystem(
        node=NodeId(name), incarnation=Incarnation(1, 7), rng=random.Random(name), max_restarts=1000
    )

    def next_life() -> Incarnation:
        system.incarnation = Incarnation(next(counters), 7)
        return system.incarnation

    transport = Transport(
        NodeIdentity(system.node, role, system.incarnation, "sim"),
        secret=SECRET,
        identification=identification_of("sim", name, role),
        catalog=CATALOG,
        inbound=system,
        on_peer=lambda event: node.heard(event),
        next_incarnation=next_life,
        settings=SETTINGS,
        connect=lambda host, port: net.connect(name, host, port),
        rng=random.Random(name),
    )
    node = Node(name, system, transport, system.named("actor"))
    system.attach(LossyNetwork(node))
    listener = net.listen(name, PORT)
    async with system, transport, anyio.create_task_group() as serving:

        async def accept() -> None:
            while True:
                transport._tasks.start_soon(transport.accept, await listener.accept())

        serving.start_soon(accept)
        backoff = Backoff(first=0.05, cap=0.2)
        await system.start(
            ChildSpec("actor", lambda: actor(node), name="actor", mailbox=MAILBOX, backoff=backoff)
        )
        yield node
        await system.stop()
        serving.cancel_scope.cancel()
    listener.close()
