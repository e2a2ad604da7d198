"""A node of a run: a real actor system and a real transport, as one simulated process on one host."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio
import trio
from anyio.abc import ByteStream, TaskStatus

from sllm_actors.actors import (
    Address,
    ChildSpec,
    Incarnation,
    MailboxLimits,
    NodeId,
    Spec,
    StartFailed,
    Strategy,
    SupervisorSpec,
)
from sllm_actors.testing import assert_no_leaks
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.testing.sim_run import process
from sllm_actors.transport import NodeIdentity, Peer, Transport
from sllm_actors.transport.byte_streams import RestStream

from .engine import Echo
from .families import Families
from .people import CATALOG, Person, Probe, Through
from .seam import WatchedNetwork, WatchedSystem

if TYPE_CHECKING:
    from .world import World

PORT = 8001
SECRET = b"a secret of the simulation"
PROBE = "probe"


class SimNode:
    """One process.

    Attributes:
        dead: It was killed: what its tasks still do while they are cleared away counts for nothing.
    """

    system: WatchedSystem
    transport: Transport
    network: WatchedNetwork

    def __init__(self, world: World, name: str, process_number: int) -> None:
        self.world = world
        self.name = name
        self.process = process_number
        self.dead = False
        self.families = Families(world.ledger, f"{name}#{process_number}")
        self.stop = anyio.Event()
        self.ended = anyio.Event()
        self._signalled: set[tuple[object, ...]] = set()
        self._scope = anyio.CancelScope()
        self._rng = random.Random(f"{world.seed}/{name}/{process_number}")

    def next_incarnation(self) -> Incarnation:
        """Take the next number of this node's counter, which outlives its processes."""
        self.world.counters[self.name] += 1
        life = Incarnation(self.world.counters[self.name], self._rng.getrandbits(64))
        self.world.processes[self.name, life] = self.process
        return life

    async def live(self, *, task_status: TaskStatus[None]) -> None:
        """Be this process, from its start to its end."""
        process.set(self.name)
        listener = self.world.net.listen(self.name, PORT)
        try:
            with self._scope:
                await self._live(listener, task_status)
        finally:
            listener.close()
            self.ended.set()
        assert_no_leaks(self.system)
        left = self.transport.statistics()
        if left.links or left.tunnels or left.handshakes:
            self.world.ledger.violated("I8", f"{self.name} left behind: {left}")

    async def _live(self, listener: Any, task_status: TaskStatus[None]) -> None:
        incarnation = self.next_incarnation()
        self.system = WatchedSystem(
            self,
            node=NodeId(self.name),
            incarnation=incarnation,
            rng=self._rng,
            max_restarts=10**6,
            cancelled_budget=0.2,
        )

        def next_life() -> Incarnation:
            self.world.ledger.counts["new lives"] += not self.dead
            self.system.incarnation = self.next_incarnation()
            return self.system.incarnation

        async with self.system as system:
            self.transport = Transport(
                NodeIdentity(NodeId(self.name), "worker", incarnation, "sim"),
                secret=SECRET,
                identification=identification_of("sim", self.name, "worker"),
                catalog=CATALOG,
                inbound=system,
                on_peer=lambda event: None,
                on_tunnel=self._open_engine,
                next_incarnation=next_life,
                settings=self.world.settings,
                connect=self._connect,
                rng=self._rng,
            )
            self.network = WatchedNetwork(self, self.transport)
            system.attach(self.network)
            async with self.transport, anyio.create_task_group() as serving:
                serving.start_soon(self._accept, listener)
                for other in self.world.dials[self.name]:
                    self.transport.dial(other, PORT)
                await system.start(ChildSpec("probe", Probe, name=PROBE))
                for spec in self._trees():
                    try:
                        await system.start(spec)
                    except StartFailed:
                        self.world.ledger.counts["start failed"] += 1
                task_status.started()
                try:
                    await self.stop.wait()
                finally:
                    with anyio.CancelScope(shield=True):
                        await system.stop()
                    serving.cancel_scope.cancel()

    async def _open_engine(self, peer: Peer, request: object) -> ByteStream:
        assert isinstance(request, Through)
        self.world.ledger.trace("engine", request.number, self.name, peer.node)
        engine = self.world.engines[request.number] = Echo()
        return engine

    def kill(self) -> None:
        """Let the process be gone; its connections are the caller's business."""
        self.dead = True
        self._scope.cancel()

    def violated(self, rule: str, text: str) -> None:
        """Write down that this process broke a promise."""
        if not self.dead:
            self.world.ledger.violated(rule, f"{self.name}#{self.process}: {text}")

    def signalled(self, what: str, peer: NodeId, watch: int) -> None:
        """I4: the transport hands a control message over; in the two lives that it joins, once."""
        link = self.transport._peer_table.links.get(peer)
        key = what, peer, link.peer.incarnation if link else None, self.system.incarnation, watch
        if link is not None and key in self._signalled:
            self.violated("I4", f"{what} of {peer} for monitor {watch} came twice")
        self._signalled.add(key)

    def is_linked(self, address: Address) -> bool:
        """Tell whether a monitor of that address would go out now."""
        if address.node == self.name:
            return True
        link = self.transport._peer_table.links.get(address.node)
        return (
            link is not None and link.life.announced and address.incarnation in {None, link.peer.incarnation}
        )

    async def _connect(self, host: str, port: int) -> ByteStream:
        if self.dead:
            await trio.sleep_forever()
        return self._seen(await self._unless_dead(await self.world.net.connect(self.name, host, port)))

    async def _unless_dead(self, stream: ByteStream) -> ByteStream:
        if self.dead:
            await stream.aclose()
        return stream

    async def _accept(self, listener: Any) -> None:
        while True:
            stream = await listener.accept()
            self.transport._tasks.start_soon(self.transport.accept, self._seen(stream))

    def _seen(self, stream: ByteStream) -> ByteStream:
        """Return the stream as the transport sees it: with TLS, it could only be written by its writer."""
        return stream if self.world.immediate else RestStream(stream, b"")

    def _trees(self) -> list[SupervisorSpec]:
        rng, world = self._rng, self.world
        trees = []
        for number in range(4):
            strategy = rng.choice(list(Strategy))
            children: list[Spec] = [
                self._person(f"{number}-{place}", pace=world.pace) for place in range(rng.randint(3, 7))
            ]
            crowd = tuple(
                self._person(f"{number}-crowd-{place}", pace=0.0) for place in range(rng.randint(4, 16))
            )
            children.append(SupervisorSpec(f"{number}-crowd", children=crowd, backoff=world.backoff))
            trees.append(
                SupervisorSpec(
                    f"tree-{number}",
                    strategy,
                    max_restarts=rng.choice([1, 3, 10]),
                    window=rng.choice([0.5, 2.0]),
                    children=tuple(children),
                    backoff=world.backoff,
                )
            )
        return trees

    def _person(self, key: str, *, pace: float) -> ChildSpec:
        rng = self._rng
        slow = rng.choice([0.0, 0.0, 0.0, 0.2])
        name = f"person-{key}" if rng.random() < 0.3 else None
        return ChildSpec(
            key,
            lambda: Person(self, pace=pace, slow=slow),
            rng.choice(self.world.kinds),
            shutdown=rng.choice([0, 0.1, 0.5]),
            name=name,
            mailbox=MailboxLimits(messages=rng.choice([3, 50, 1000]), bytes=rng.choice([2**17, 2**20])),
            backoff=self.world.backoff,
        )
