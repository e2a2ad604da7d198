"""The nodes of a run: a real actor system, a real transport, and the real actor of each role."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import trio
from anyio.abc import ByteStream, TaskStatus

from sllm_actors.actors import ChildSpec, Envelope, Incarnation, NodeId, StartFailed
from sllm_actors.cluster.roles import may_dial
from sllm_actors.engines.messages import LogChunk
from sllm_actors.gateway.routing.actor import GatewayActor
from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.balancer_shell import BalancerShell
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.memory.keys import KnownKeys
from sllm_actors.gateway.routing.memory.memory import Memory
from sllm_actors.gateway.routing.memory.poison import Poison
from sllm_actors.gateway.routing.node_links import NodeLinks
from sllm_actors.gateway.routing.router import RouterTools
from sllm_actors.gateway.settings import GatewaySettings
from sllm_actors.models.hub import Hub
from sllm_actors.models.store import ModelStore
from sllm_actors.nodes.gateway_links import GatewayLinks
from sllm_actors.nodes.node import MESSAGES
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.messages import CONTROLLER, GATEWAY, WORKER
from sllm_actors.serving.worker.actor import WorkerActor
from sllm_actors.serving.worker.replicas import Replicas
from sllm_actors.serving.worker.runtime import WorkerRuntime
from sllm_actors.testing import TestSystem
from sllm_actors.testing.node_keys import credential_of, key_of
from sllm_actors.testing.sim_run import process
from sllm_actors.transport import (
    Dial,
    Identification,
    NodeIdentity,
    PeerDoubted,
    PeerLost,
    PeerTrusted,
    PeerUp,
    Transport,
)
from sllm_actors.transport.byte_streams import RestStream

from .environment import here
from .machine import PlayedReplica
from .stored import KeptEpoch, KeptSnapshot

if TYPE_CHECKING:
    from .cluster import Cluster

PORT = 8001
HEAD = "head"
SPARE = "spare"
SECRET = b"a secret of the simulation"


class Node:
    """One process.

    Attributes:
        actor: The name of the actor of its role.
        dead: It was killed: what its tasks still do while they are cleared away counts for nothing.
    """

    role: ClassVar[str]
    actor: ClassVar[str]
    system: TestSystem
    transport: Transport

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.dead = False
        self.stop = anyio.Event()
        self.ended = anyio.Event()
        self._scope = anyio.CancelScope()
        self.rng = random.Random(f"{cluster.seed}/{name}/{cluster.counters[name]}")

    async def begin(self) -> None:
        """Start the actor of the role, and dial."""
        raise NotImplementedError

    def news(self, event: Any) -> None:
        """Tell the actor of a link."""
        self.system.named(self.actor).tell(event)

    async def live(self, *, task_status: TaskStatus[None]) -> None:
        """Be this process, from its start to its end."""
        process.set(self.name)
        here.set(self)
        listener = self.cluster.net.listen(self.name, PORT)
        try:
            with self._scope:
                await self._live(listener, task_status)
        finally:
            listener.close()
            self.ended.set()

    async def _live(self, listener: Any, task_status: TaskStatus[None]) -> None:
        incarnation = self.cluster.next_incarnation(self)
        self.system = TestSystem(
            node=NodeId(self.name),
            incarnation=incarnation,
            rng=self.rng,
            cancelled_budget=0.0,
            max_restarts=10**6,
        )

        def next_life() -> Incarnation:
            self.cluster.ledger.counts["new lives"] += not self.dead
            self.system.incarnation = self.cluster.next_incarnation(self)
            return self.system.incarnation

        credential = credential_of("sim", self.name, self.role)
        async with self.system as system:
            self.transport = Transport(
                NodeIdentity(NodeId(self.name), self.role, incarnation, "sim"),
                secret=SECRET,
                identification=Identification(key_of(self.name), lambda: credential, may_dial),
                catalog=MESSAGES,
                inbound=system,
                on_peer=self._tell,
                on_doubt=None if self.role == "worker" else self._tell,
                next_incarnation=next_life,
                settings=self.cluster.settings,
                connect=self._connect,
                rng=self.rng,
            )
            system.attach(Lossy(self.transport, self.cluster))
            async with self.transport, anyio.create_task_group() as serving:
                serving.start_soon(self._accept, listener)
                await self.begin()
                task_status.started()
                await self.stop.wait()
                with anyio.CancelScope(shield=True):
                    await system.stop()
                serving.cancel_scope.cancel()

    def kill(self) -> None:
        """Let the process be gone; its connections are the caller's business."""
        self.dead = True
        self._scope.cancel()

    def _tell(self, event: PeerUp | PeerLost | PeerDoubted | PeerTrusted) -> None:
        if not self.dead and not self.stop.is_set():
            self.news(event)

    async def _connect(self, host: str, port: int) -> ByteStream:
        if self.dead:
            await trio.sleep_forever()
        stream = await self.cluster.net.connect(self.name, host, port)
        return RestStream(await self._unless_dead(stream), b"")

    async def _unless_dead(self, stream: ByteStream) -> ByteStream:
        if self.dead:
            await stream.aclose()
        return stream

    async def _accept(self, listener: Any) -> None:
        while True:
            stream = await listener.accept()
            self.transport._tasks.start_soon(self.transport.accept, RestStream(stream, b""))


class Lossy:
    """``actors.network.Network``: the transport, which may lose what is told."""

    def __init__(self, transport: Transport, cluster: Cluster) -> None:
        self._transport = transport
        self._cluster = cluster
        self.ask = transport.ask
        self.monitor = transport.monitor
        self.demonitor = transport.demonitor
        self.down = transport.down

    def tell(self, envelope: Envelope) -> None:
        """Send, or not."""
        cluster = self._cluster
        if cluster.loses and cluster.dice.random() < cluster.loses:
            cluster.ledger.counts[f"lost {type(envelope.message).__name__}"] += 1
        else:
            self._transport.tell(envelope)


class Head(Node):
    """The head: its actor, over a store in memory."""

    role = "head"
    actor = CONTROLLER
    controller: Controller

    async def begin(self) -> None:
        def make() -> Controller:
            self.controller = Controller(
                self.cluster.stores[self.name], peers=self.transport.peers, doubted=self.transport.doubted
            )
            return self.controller

        while True:
            with suppress(StartFailed):  # its store is away: the launcher starts it again
                await self.system.start(ChildSpec(CONTROLLER, make, name=CONTROLLER))
                return
            await anyio.sleep(1.0)


class Worker(Node):
    """A worker: its actor, over a machine."""

    role = "worker"
    actor = WORKER

    async def begin(self) -> None:
        machine = self.cluster.machines[self.name]
        self.replicas = Replicas()
        runtime = WorkerRuntime(
            make_replica=lambda order, owner: PlayedReplica(machine, order, owner),
            inspect=machine.inspect,
            read_log=lambda _: LogChunk(0, 0, ""),
            inventory=machine.inventory,
            engines=dict,
            name=self.name,
            models=ModelStore(Path("/nonexistent"), Hub({})),
            interpreter=str,
            peers=self.transport.peers,
            epoch=KeptEpoch(machine.epoch),
            slots=machine.slots,
        )
        await self.system.start(ChildSpec(WORKER, lambda: WorkerActor(runtime, self.replicas), name=WORKER))
        self.transport.dial(HEAD, PORT, "head")
        if self.cluster.has_spare:
            self.transport.dial(SPARE, PORT, "head")

    def kill(self) -> None:
        super().kill()
        self.cluster.machines[self.name].process_died()


class Gateway(Node):
    """A gateway: its actor with its routers."""

    role = "gateway"
    actor = GATEWAY
    _dial: Dial | None = None

    async def begin(self) -> None:
        self.links = GatewayLinks(lambda: None, HEAD)
        self.memory = Memory(
            KeptSnapshot(self.cluster.snapshots[self.name]), Poison(self.name, lambda _: None), KnownKeys()
        )
        self.board = Board()
        settings = GatewaySettings(snapshot_path=Path("/nowhere"), machine="none")
        self.balancer = Balancer(self.system.clock.now, Random(1), BalancerShell(self.system))
        tools = RouterTools(self.board, self.balancer, settings)
        links = NodeLinks(
            partial(self.links.dial_workers, self.transport.dial),
            self.transport.peers,
            lambda: self.links.head,
            self.transport.doubted,
        )
        await self.system.start(
            ChildSpec(GATEWAY, lambda: GatewayActor(tools, self.memory, links), name=GATEWAY)
        )
        self.find_head()

    def find_head(self) -> None:
        """Dial the head that is the head now, and no other."""
        if self._dial is not None:
            self._dial.close()
        self._dial = self.transport.dial(self.cluster.head_name, PORT, "head")

    def news(self, event: Any) -> None:
        if isinstance(event, PeerUp | PeerLost):
            self.links.news(self.system, event)
        else:
            super().news(event)
