"""A real worker actor over replicas that a test scripts, on a clock and among peers that it moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread

from sllm_actors.actors import (
    AT_ONCE,
    Actor,
    ActorRef,
    ChildSpec,
    Incarnation,
    NodeId,
)
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    Drained,
    InspectSource,
    LogChunk,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SleepReplica,
    SourceInspected,
    StopReplica,
    WakeReplica,
)
from sllm_actors.serving.messages import (
    WORKER,
    DesiredReplicas,
    ReplicaStates,
    Withdrawn,
    WorkerReport,
)
from sllm_actors.serving.replicas import Replicas
from sllm_actors.serving.worker import WorkerActor, WorkerRuntime
from sllm_actors.testing import ManualClock, TestSystem
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .kit import inventory, outcome_of
from .recording_network import RecordingNetwork


class ScriptedReplica(Actor):
    """Reports what a test says, and otherwise does as a replica does: drains, stops, ends."""

    def __init__(self, workplace: Workplace, order: ReplicaOrder, owner: ActorRef) -> None:
        self._workplace, self._order, self._owner = workplace, order, owner
        self._attempt = workplace.next_attempt()
        self.drained: list[Drained] = []
        self.levels: list[int] = []
        self.stops = 0
        self.withdrawal = 0

    async def started(self) -> None:
        if self._workplace.broken:
            raise OSError("the disk is full")
        self._workplace.replicas[self._order.key] = self
        self.become(ReplicaState.STARTING)

    def become(self, state: ReplicaState) -> None:
        self.withdrawal += state in (ReplicaState.ASLEEP, ReplicaState.DRAINING)
        me = self._order.key.attempt(self._attempt)
        said = ReplicaReport(me, state, can_sleep=self._workplace.can_sleep, withdrawal=self.withdrawal)
        self._owner.tell(ReplicaChanged(said))

    async def receive(self, message: Any) -> None:
        match message:
            case ReplicaState():
                self.become(message)
            case StopReplica():
                self.stops += 1
                self.become(ReplicaState.DRAINING)
            case SleepReplica(level):
                self.levels.append(level)
                self.become(ReplicaState.ASLEEP)
            case WakeReplica():
                self.become(ReplicaState.READY)
            case Drained():
                self.drained.append(message)
                if self.stops:
                    self.become(ReplicaState.STOPPED)
                    self.context.stop()
            case _:
                raise ValueError("a bug")


class Workplace:
    """A worker's actor among peers that a test makes up."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = RecordingNetwork()
        self.system = TestSystem(node=NodeId("w1"), clock=self.clock, network=self.network)
        self.replicas: dict[ReplicaKey, ScriptedReplica] = {}
        self.known = Replicas()
        self.linked: dict[str, Peer] = {}
        self.broken = False
        self.can_sleep = True
        self.made = 0
        self.inspect: Callable[[InspectSource], SourceInspected] = lambda _: SourceInspected("", size=1)
        self.stock = inventory(1)
        self.stock_error: OSError | None = None

    def next_attempt(self) -> int:
        self.made += 1
        return self.made

    def read_inventory(self) -> Any:
        if self.stock_error is not None:
            raise self.stock_error
        return self.stock

    async def answer(self, question: InspectSource) -> SourceInspected:
        return await to_thread.run_sync(self.inspect, question)

    def runtime(self) -> WorkerRuntime:
        return WorkerRuntime(
            make_replica=lambda order, owner: ScriptedReplica(self, order, owner),
            inspect=self.answer,
            read_log=lambda question: LogChunk(0, 2, "hi"),
            inventory=self.read_inventory,
            peers=lambda: tuple(self.linked.values()),
        )

    @property
    def worker(self) -> ActorRef:
        return self.system.named(WORKER)

    async def rest(self) -> None:
        """Wait until everything that was sent is dealt with."""
        for _ in range(3):
            await self.worker.ask(InspectSource("x", "x"), timeout=60)
            await anyio.wait_all_tasks_blocked()

    async def link(self, node: str, role: str, life: int = 1) -> Peer:
        peer = Peer(NodeId(node), role, Incarnation(life, 0), "lan", outbound=False)
        self.linked[node] = peer
        self.worker.tell(PeerUp(peer))
        await self.rest()
        return peer

    async def lose(self, node: str) -> None:
        self.worker.tell(PeerLost(self.linked.pop(node), "silent"))
        await self.rest()

    async def order(self, *keys: ReplicaKey) -> None:
        orders = tuple(ReplicaOrder(each, "m", "llamacpp", "/m.gguf") for each in keys)
        self.worker.tell(DesiredReplicas(orders))
        await self.rest()

    async def become(self, place: ReplicaKey, state: ReplicaState) -> None:
        self.replicas[place].context.ref.tell(state)
        await self.rest()

    async def withdraw(self, gateway: str, place: ReplicaKey, before: int = 0) -> None:
        (known,) = self.replica(place)
        self.worker.tell(Withdrawn(gateway, known.id, known.withdrawal - before))
        await self.rest()

    async def ask(self, question: Any) -> tuple[str, dict[str, Any]]:
        said = await self.worker.ask(question, timeout=5)
        await self.rest()
        return outcome_of(said)

    def replica(self, place: ReplicaKey) -> list[ReplicaReport]:
        return [each for each in self.known.all() if each.id.key == place]

    def states(self) -> dict[ReplicaKey, ReplicaState]:
        return {each.id.key: each.state for each in self.known.all()}

    def reported(self, node: str = "head") -> dict[ReplicaKey, ReplicaState] | None:
        last: WorkerReport | ReplicaStates | None
        last = self.network.last(node, WorkerReport) or self.network.last(node, ReplicaStates)
        return None if last is None else {each.id.key: each.state for each in last.replicas}


@asynccontextmanager
async def workplace() -> AsyncIterator[Workplace]:
    place = Workplace()
    async with place.system:
        runtime = place.runtime()
        await place.system.start(
            ChildSpec(WORKER, lambda: WorkerActor(runtime, place.known), name=WORKER, backoff=AT_ONCE)
        )
        yield place
