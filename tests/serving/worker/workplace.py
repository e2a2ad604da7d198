"""A real worker actor over replicas that a test scripts, on a clock and among peers that it moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from tests.serving.kit import inventory, key, outcome_of
from tests.serving.recording_network import RecordingNetwork

from sllm_actors.actors import (
    AT_ONCE,
    Actor,
    ActorRef,
    ChildSpec,
    Incarnation,
    NodeId,
)
from sllm_actors.disk import Disk
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    ConfirmEngine,
    Drained,
    EngineConfirmed,
    InspectSource,
    LogChunk,
    OrderChanged,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SleepReplica,
    SourceInspected,
    StopReplica,
    WakeReplica,
)
from sllm_actors.models.hub import Hub
from sllm_actors.models.store import ModelStore
from sllm_actors.serving.messages import WORKER, ReadDocument, Withdrawn
from sllm_actors.serving.worker.actor import WorkerActor
from sllm_actors.serving.worker.epoch import ObeyedEpoch
from sllm_actors.serving.worker.replicas import Replicas
from sllm_actors.serving.worker.runtime import WorkerRuntime
from sllm_actors.testing import ManualClock, TestSystem
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .peers import FollowingNode, OrderingHead


def run(place: ReplicaKey, **more: Any) -> ReplicaOrder:
    """Return an order to run a replica."""
    return ReplicaOrder(place, **{"model": "m", "backend": "llamacpp", "source": "/m.gguf", **more})


class ScriptedReplica(Actor):
    """Reports what a test says, and otherwise does as a replica does: drains, stops, ends."""

    def __init__(self, workplace: Workplace, order: ReplicaOrder, owner: ActorRef) -> None:
        self._workplace, self.order, self._owner = workplace, order, owner
        self._attempt = workplace.next_attempt()
        self.drained: list[Drained] = []
        self.levels: list[int] = []
        self.stops: list[str] = []
        self.patience: float | None = None
        self.withdrawal = 0

    async def started(self) -> None:
        if self._workplace.broken:
            raise OSError("the disk is full")
        self._workplace.replicas[self.order.key] = self
        self.say(ReplicaState.STARTING)

    def say(self, state: ReplicaState, **more: Any) -> None:
        if (state in (ReplicaState.ASLEEP, ReplicaState.DRAINING)) and "progress" not in more:
            self.withdrawal += 1
        me = self.order.key.attempt(self._attempt)
        fields = {"can_sleep": self._workplace.can_sleep, "withdrawal": self.withdrawal, **more}
        self._owner.tell(ReplicaChanged(ReplicaReport(me, state, **fields)))

    async def receive(self, message: Any) -> EngineConfirmed | None:
        match message:
            case ReplicaState():
                self.say(message)
            case OrderChanged(order):
                self.order = order
            case StopReplica(reason, drain=False):
                self.stops.append(reason)
                self.say(ReplicaState.STOPPED)
                self.context.stop()
            case StopReplica(reason, if_idle=if_idle):
                self.stops.append(reason)
                self.say(ReplicaState.DRAINING, if_idle=if_idle)
            case SleepReplica(level, patience=patience):
                self.levels.append(level)
                self.patience = patience
                self.say(ReplicaState.ASLEEP, level=level)
            case WakeReplica():
                self.stops.clear()
                self.say(ReplicaState.READY)
            case ConfirmEngine(life):
                return EngineConfirmed(serving=life.attempt == self._attempt)
            case Drained():
                self.drained.append(message)
                if self.stops:
                    self.say(ReplicaState.STOPPED)
                    self.context.stop()
            case _:
                raise ValueError("a bug")
        return None


class Workplace:
    """A worker's actor among peers that a test makes up."""

    def __init__(self, epoch: ObeyedEpoch) -> None:
        self.clock = ManualClock()
        self.network = RecordingNetwork()
        self.system = TestSystem(node=NodeId("w1"), clock=self.clock, network=self.network)
        self.replicas: dict[ReplicaKey, ScriptedReplica] = {}
        self.known = Replicas()
        self.linked: dict[str, Peer] = {}
        self.peers: dict[str, FollowingNode] = {}
        self.heard: dict[str, int] = {}
        self.broken = False
        self.can_sleep = True
        self.made = 0
        self.problems: dict[str, str] = {}
        self.inspected: list[InspectSource] = []
        self.inspect: Callable[[InspectSource], Awaitable[SourceInspected]] = self.inspect_by_source
        self.stock = inventory(1)
        self.stock_error: OSError | None = None
        self.engines: dict[str, object] = {}
        self.installed: Callable[[], Mapping[str, object]] = lambda: dict(self.engines)
        self.epoch = epoch

    def next_attempt(self) -> int:
        self.made += 1
        return self.made

    def read_inventory(self) -> Any:
        if self.stock_error is not None:
            raise self.stock_error
        return self.stock

    async def inspect_by_source(self, question: InspectSource) -> SourceInspected:
        self.inspected.append(question)
        return SourceInspected(self.problems.get(question.source, ""), size=1)

    def runtime(self) -> WorkerRuntime:
        return WorkerRuntime(
            make_replica=lambda order, owner: ScriptedReplica(self, order, owner),
            inspect=lambda question: self.inspect(question),
            read_log=lambda _: LogChunk(0, 2, "hi"),
            inventory=self.read_inventory,
            engines=lambda: self.installed(),
            name="",
            models=ModelStore(Path("/nonexistent"), Hub({})),
            interpreter=str,
            peers=lambda: tuple(self.linked.values()),
            epoch=self.epoch,
        )

    @property
    def worker(self) -> ActorRef:
        return self.system.named(WORKER)

    @property
    def head(self) -> OrderingHead:
        return self.head_at("head")

    def head_at(self, node: str) -> OrderingHead:
        head = self.peers[node]
        assert isinstance(head, OrderingHead)
        return head

    # ---- letting things happen

    async def rest(self) -> None:
        """Deliver what was sent, both ways, until nothing happens any more."""
        while True:
            await self.worker.ask(ReadDocument(key(0)), timeout=60)
            await self._finish_threads()
            if not self._deliver():
                return

    async def _finish_threads(self) -> None:
        await self.clock.advance(0)
        while to_thread.current_default_thread_limiter().borrowed_tokens:
            await anyio.sleep(0.001)
            await self.clock.advance(0)

    def _deliver(self) -> bool:
        delivered = False
        for node, peer in self.peers.items():
            told = self.network.told[node]
            for message in told[self.heard.get(node, 0) :]:
                peer.take(message)
                delivered = True
            self.heard[node] = len(told)
        return delivered

    async def advance(self, seconds: float) -> None:
        """Let time pass in small steps, as the beats need it."""
        for _ in range(round(seconds * 10)):
            await self.clock.advance(0.1)
            await self._finish_threads()
            self._deliver()
        await self.clock.advance(0.001)  # a sum of tenths may fall short
        await self.rest()

    async def link(
        self, node: str, role: str, life: int = 1, *, epoch: int = 1, dialled: bool = True
    ) -> Peer:
        peer = Peer(NodeId(node), role, Incarnation(life, 0), "lan", outbound=dialled and role == "head")
        self.linked[node] = peer
        self.worker.tell(PeerUp(peer))
        if node not in self.peers:
            tell = self.worker.tell
            head = role == "head"
            self.peers[node] = OrderingHead(node, tell, epoch) if head else FollowingNode(node, tell)
        self.peers[node].begin()
        await self.rest()
        return peer

    async def lose(self, node: str) -> None:
        self.worker.tell(PeerLost(self.linked.pop(node), "silent"))
        await self.rest()

    async def order(self, *keys: ReplicaKey, **more: Any) -> None:
        """Let the head want these replicas, and no others."""
        self.head.order(*(run(each, **more) for each in keys))
        await self.rest()

    async def become(self, place: ReplicaKey, state: ReplicaState) -> None:
        self.replicas[place].context.ref.tell(state)
        await self.rest()

    async def withdraw(self, gateway: str, place: ReplicaKey, before: int = 0) -> None:
        known = self.known.at(place)
        assert known is not None
        self.worker.tell(Withdrawn(gateway, known.id, known.withdrawal - before))
        await self.rest()

    async def ask(self, question: Any) -> tuple[str, dict[str, Any]]:
        said = await self.worker.ask(question, timeout=60)
        await self.rest()
        return outcome_of(said)

    # ---- looking

    def states(self) -> dict[ReplicaKey, ReplicaState]:
        return {each.id.key: each.state for each in self.known.all()}

    def reported(self, node: str = "head") -> dict[ReplicaKey, ReplicaState]:
        return self.peers[node].states


@asynccontextmanager
async def workplace(home: Path) -> AsyncIterator[Workplace]:
    """Run a worker that is linked to a head, which has ordered nothing yet."""
    place = Workplace(await to_thread.run_sync(ObeyedEpoch, home / "epoch.json", Disk()))
    async with place.system:
        runtime = place.runtime()
        await place.system.start(
            ChildSpec(WORKER, lambda: WorkerActor(runtime, place.known), name=WORKER, backoff=AT_ONCE)
        )
        await place.link("head", "head")
        yield place
