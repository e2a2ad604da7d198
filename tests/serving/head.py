"""A real controller with a real store, on a clock and among nodes that a test moves."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from attrs import define, field

from sllm_actors.actors import AT_ONCE, ChildSpec, Incarnation, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaReport, ReplicaState, SourceInspected
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.differences.follower import Follower
from sllm_actors.serving.differences.messages import Beat, Difference, Page, Stream
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.keys.messages import KnownKey
from sllm_actors.serving.keys.secret import digest_of
from sllm_actors.serving.messages import (
    CONTROLLER,
    DeathKey,
    DeleteDeployment,
    Demand,
    Deploy,
    EngineDeath,
    Order,
    ReadDocument,
    ReplicaDocument,
    ServedModel,
    WorkerAddress,
    WorkerInventory,
)
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.streams import (
    ADDRESSES,
    DEATHS,
    DEMAND,
    KEYS,
    ORDERS,
    REPLICAS,
    ROUTES,
    AskDemand,
    AskReplicas,
)
from sllm_actors.serving.views.messages import DescribeCluster, DescribeDeployment
from sllm_actors.testing import ManualClock, TestSystem
from sllm_actors.transport import Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp

from .kit import inventory, outcome_of
from .recording_network import RecordingNetwork

SETTLE_TIME = 10.0
ADMIN_DIGEST = digest_of(b"the admin key of this head")
FOR_GATEWAYS: list[Stream[Any, Any]] = [ROUTES, ADDRESSES, DEATHS, KEYS]
_LIVES = itertools.count(1)


@define(eq=False)
class Played:
    """A worker or gateway as the head sees it: it follows what the head says, and says what a test wants."""

    node: str
    replicas: Publisher[ReplicaKey, ReplicaReport]
    following: dict[str, Follower[Any, Any]]
    orders: dict[ReplicaKey, Order] = field(factory=dict)
    routes: dict[str, ServedModel] = field(factory=dict)
    addresses: dict[str, WorkerAddress] = field(factory=dict)
    deaths: dict[DeathKey, EngineDeath] = field(factory=dict)
    keys: dict[str, KnownKey] = field(factory=dict)
    read: int = 0
    demand: Publisher[str, Demand] | None = None

    @property
    def runs(self) -> list[ReplicaKey]:
        """What it is ordered to run."""
        return sorted(key for key, order in self.orders.items() if order.run is not None)

    @property
    def stops(self) -> dict[ReplicaKey, str]:
        """What it is ordered to stop, and why."""
        return {key: order.stop for key, order in self.orders.items() if order.run is None}


class Head:
    """What a test does to a controller, and sees of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.network = RecordingNetwork()
        self.network.answer = self._answer
        self.system = TestSystem(node=NodeId("head"), clock=self.clock, network=self.network)
        self.peers: dict[str, Peer] = {}
        self.nodes: dict[str, Played] = {}
        self.problems: dict[str, str] = {}  # what each worker says of any source
        self.documents: dict[str, str] = {}  # by uid: what workers say that they run it by
        self.sizes: dict[str, int] = {}  # what each worker says how large any model is
        self.silent: set[str] = set()  # workers that do not answer
        self.doubted: set[NodeId] = set()
        self.away = False  # whether the store is
        self._sequences = itertools.count(1)

    def _answer(self, node: str, question: Any) -> Any:
        if isinstance(question, ReadDocument):
            return ReplicaDocument(self.documents.get(question.key.uid, ""))
        assert isinstance(question, InspectSource)
        if node in self.silent:
            return None
        return SourceInspected(self.problems.get(node, ""), self.sizes.get(node))

    async def start(self) -> None:
        def make() -> Controller:
            self.controller = Controller(
                self.store,
                peers=lambda: tuple(self.peers.values()),
                doubted=lambda: frozenset(self.doubted),
                settle_time=SETTLE_TIME,
                admin_digest=ADMIN_DIGEST,
            )
            return self.controller

        await self.system.start(ChildSpec(CONTROLLER, make, name=CONTROLLER, backoff=AT_ONCE))
        await self.rest()

    # ---- what nodes do

    async def up(self, node: str, role: str = "worker", life: int = 1) -> Played:
        peer = Peer(NodeId(node), role, Incarnation(life, 0), f"{node}.lan", outbound=False)
        self.peers[node] = peer
        if node not in self.nodes:
            streams: list[Stream[Any, Any]] = (
                [ORDERS] if role == "worker" else [ROUTES, ADDRESSES, DEATHS, KEYS]
            )
            following = {each.name: Follower[Any, Any](each, node) for each in streams}
            self.nodes[node] = Played(node, Publisher(REPLICAS, node, next(_LIVES)), following)
        self.nodes[node].demand = Publisher(DEMAND, node, next(_LIVES)) if role == "gateway" else None
        self.tell(PeerUp(peer))
        await self.rest()
        return self.nodes[node]

    async def lose(self, node: str) -> None:
        self.tell(PeerLost(self.peers.pop(node), "it is silent"))
        await self.rest()

    async def doubt(self, node: str) -> None:
        """The connection of a node was closed, and may come back."""
        self.doubted.add(NodeId(node))
        self.tell(PeerDoubted(self.peers[node], "it was reset"))
        await self.rest()

    async def trust(self, node: str, *, heard: bool = True) -> None:
        """It is back; news of that may be lost."""
        self.doubted.discard(NodeId(node))
        if heard:
            self.tell(PeerTrusted(self.peers[node]))
        await self.rest()

    async def join(self, node: str, *replicas: ReplicaReport, gpus: int = 0, life: int = 1) -> Played:
        """A worker is linked and has said what it has."""
        peer = Peer(NodeId(node), "worker", Incarnation(life, 0), f"{node}.lan", outbound=False)
        self.peers[node] = peer
        played = Played(
            node, Publisher(REPLICAS, node, next(_LIVES)), {"orders": Follower[Any, Any](ORDERS, node)}
        )
        self.nodes[node] = played
        for each in replicas:
            played.replicas.put(each)
        self.tell(PeerUp(peer))
        await self.have(node, gpus=gpus)
        return played

    async def have(
        self, node: str, *, gpus: int = 0, changes: int = 0, epoch: int = 0, obeys: str = ""
    ) -> None:
        """A worker says what it has."""
        has = inventory(gpus, port=8002, name=node)
        self.tell(WorkerInventory(node, next(self._sequences), has, changes, epoch, obeys))
        await self.rest()

    async def report(self, node: str, *replicas: ReplicaReport, gone: tuple[ReplicaKey, ...] = ()) -> None:
        """A worker says what has become of replicas."""
        for each in replicas:
            self.nodes[node].replicas.put(each)
        for key in gone:
            self.nodes[node].replicas.remove(key)
        for difference in self.nodes[node].replicas.flush():
            self.tell(difference)
        await self.rest()

    async def ready(self, node: str) -> None:
        """Everything that a worker is ordered to run is ready, and what it is to stop is gone."""
        played = self.nodes[node]
        reports = [_report_of(order, ReplicaState.READY) for order in played.orders.values() if order.run]
        await self.report(node, *reports, gone=tuple(played.stops))

    async def want(self, node: str, *demands: Demand) -> None:
        """Let the clients of a gateway want exactly this."""
        publisher = self.nodes[node].demand
        assert publisher is not None
        for name in publisher.entries().keys() - {each.deployment for each in demands}:
            publisher.remove(name)
        for each in demands:
            publisher.put(each)
        for difference in publisher.flush():
            self.tell(difference)
        await self.rest()

    async def beat(self, node: str) -> None:
        """Let a gateway say that it is there."""
        publisher = self.nodes[node].demand
        assert publisher is not None
        self.tell(publisher.beat())
        await self.rest()

    def tell(self, message: Any) -> None:
        self.system.named(CONTROLLER).tell(message)

    # ---- what a person does

    async def ask(self, request: Any) -> tuple[str, dict[str, Any]]:
        answer = await self.system.named(CONTROLLER).ask(request, timeout=60)
        return outcome_of(answer)

    async def deploy(self, wanted: DeploymentSpec, **more: Any) -> tuple[str, dict[str, Any]]:
        found = await self.ask(Deploy(json.dumps(write_document(wanted)), **more))
        await self.rest()
        return found

    async def delete(self, name: str) -> tuple[str, dict[str, Any]]:
        found = await self.ask(DeleteDeployment(name))
        await self.rest()
        return found

    async def describe(self, name: str = "") -> dict[str, Any]:
        outcome, document = await self.ask(DescribeDeployment(name) if name else DescribeCluster())
        assert outcome == "done", document
        return document

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.rest()

    # ---- what is seen

    async def stored(self) -> StoredState:
        return await anyio.to_thread.run_sync(self.store.load)

    async def rest(self) -> None:
        """Wait until everything that was said is dealt with, but for questions that nobody answers."""
        quiet = 0
        while quiet < 2:  # what a write has led to is planned a moment later
            await self.ask(DescribeCluster())  # answered behind everything that was sent before
            await anyio.wait_all_tasks_blocked()
            await self.clock.advance(0.006)  # the head plans what came together a moment later
            await self.ask(DescribeCluster())
            await anyio.wait_all_tasks_blocked()
            heard = self._hear()
            writes = self.controller._writer.waits and not self.away
            # One job is the one that writes behind.
            jobs = self.system.statistics().jobs - len(self.network.open) - 1
            quiet = 0 if heard or writes or jobs > 0 else quiet + 1

    def _hear(self) -> bool:
        """Let nodes take what they were told, and answer; return whether there was anything."""
        heard = False
        for played in self.nodes.values():
            told = self.network.told[played.node]
            for message in told[played.read :]:
                self._take(played, message)
                heard = True
            played.read = len(told)
        return heard

    def _take(self, played: Played, message: Any) -> None:
        if isinstance(message, AskReplicas):
            if played.node in self.peers and played.node not in self.silent:
                played.replicas.flush()
                self.tell(played.replicas.page(message.after))
            return
        if isinstance(message, AskDemand):
            if played.demand is not None and played.node in self.peers:
                self.tell(played.demand.page(message.after))
            return
        tables: dict[str, dict[Any, Any]] = {
            "orders": played.orders,
            "routes": played.routes,
            "addresses": played.addresses,
            "deaths": played.deaths,
            "keys": played.keys,
        }
        for name, follower in played.following.items():
            if not isinstance(message, Difference | Page | Beat):
                continue
            changes = follower.take(message)
            for key in changes.removed:
                tables[name].pop(key, None)
            for entry in changes.put:
                tables[name][follower.stream.key_of(entry)] = entry
            if changes.ask is not None and played.node in self.peers:
                self.tell(changes.ask)


def _report_of(order: Order, state: ReplicaState, **more: Any) -> ReplicaReport:
    assert order.run is not None
    return ReplicaReport(
        order.key.attempt(1), state, gpus=order.run.num_gpus, fingerprint=order.run.fingerprint, **more
    )


@asynccontextmanager
async def running_head(path: Path) -> AsyncIterator[Head]:
    """Run a head on the state in a folder; the next one on the same folder is its restart."""
    store = await anyio.to_thread.run_sync(Store.open, sqlite_url(path / "state.db"))
    try:
        head = Head(store)
        async with head.system:
            await head.start()
            yield head
    finally:
        store.close()
