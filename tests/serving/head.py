"""A real controller with a real store, on a clock and among nodes that a test moves."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from sllm_actors.actors import AT_ONCE, ChildSpec, Incarnation, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaReport, SourceInspected
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.controller_store import ControllerStore, StoredDeployment
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import (
    CONTROLLER,
    DeleteDeployment,
    Deploy,
    Describe,
    DesiredReplicas,
    RoutingTable,
    WorkerReport,
)
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store
from sllm_actors.testing import ManualClock, TestSystem
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .kit import inventory, outcome_of
from .recording_network import RecordingNetwork

SETTLE_TIME = 10.0


class Head:
    """What a test does to a controller, and sees of it."""

    def __init__(self, store: ControllerStore, epoch: int) -> None:
        self.store = store
        self.clock = ManualClock()
        self.network = RecordingNetwork()
        self.network.answer = self._inspect
        self.system = TestSystem(node=NodeId("head"), clock=self.clock, network=self.network)
        self.peers: dict[str, Peer] = {}
        self.problems: dict[str, str] = {}  # what each worker says of any source
        self.silent: set[str] = set()  # workers that do not answer
        self._sequences = itertools.count(1)
        self._numbers = itertools.count(1)
        self._epoch = epoch

    def _inspect(self, node: str, question: Any) -> Any:
        assert isinstance(question, InspectSource)
        return None if node in self.silent else SourceInspected(self.problems.get(node, ""))

    async def start(self) -> None:
        def make() -> Controller:
            return Controller(
                self.store,
                peers=lambda: tuple(self.peers.values()),
                epoch=self._epoch,
                table_numbers=self._numbers,
                settle_time=SETTLE_TIME,
            )

        await self.system.start(ChildSpec(CONTROLLER, make, name=CONTROLLER, backoff=AT_ONCE))

    # ---- what nodes do

    async def up(self, *nodes: str, role: str = "worker", life: int = 1) -> None:
        for node in nodes:
            peer = Peer(NodeId(node), role, Incarnation(life, 0), f"{node}.lan", outbound=False)
            self.peers[node] = peer
            self.system.named(CONTROLLER).tell(PeerUp(peer))
        await self.rest()

    async def lose(self, node: str) -> None:
        self.system.named(CONTROLLER).tell(PeerLost(self.peers.pop(node), "silent"))
        await self.rest()

    async def report(self, node: str, *replicas: ReplicaReport, gpus: int = 0, sequence: int = 0) -> None:
        said = WorkerReport(node, sequence or next(self._sequences), inventory(gpus, port=8002), replicas)
        self.system.named(CONTROLLER).tell(said)
        await self.rest()

    async def join(self, node: str, *replicas: ReplicaReport, gpus: int = 0, life: int = 1) -> None:
        """A worker is linked and has reported."""
        await self.up(node, life=life)
        await self.report(node, *replicas, gpus=gpus)

    # ---- what a person does

    async def ask(self, request: Any) -> tuple[str, dict[str, Any]]:
        answer = await self.system.named(CONTROLLER).ask(request, timeout=60)
        return outcome_of(answer)

    async def deploy(self, wanted: DeploymentSpec) -> tuple[str, dict[str, Any]]:
        found = await self.ask(Deploy(json.dumps(write_document(wanted))))
        await self.rest()
        return found

    async def delete(self, name: str) -> tuple[str, dict[str, Any]]:
        return await self.ask(DeleteDeployment(name))

    async def describe(self, name: str = "") -> dict[str, Any]:
        outcome, document = await self.ask(Describe(name))
        assert outcome == "done", document
        return document

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.rest()

    # ---- what is seen

    async def stored(self) -> list[StoredDeployment]:
        return await anyio.to_thread.run_sync(self.store.deployments)

    async def known_workers(self) -> set[str]:
        return await anyio.to_thread.run_sync(self.store.nodes, "worker")

    async def rest(self) -> None:
        """Wait until everything that was said is dealt with, but for questions that nobody answers."""
        while True:
            await self.ask(Describe())  # answered behind everything that was sent before
            await anyio.wait_all_tasks_blocked()
            await self.ask(Describe())
            await anyio.wait_all_tasks_blocked()
            if self.system.statistics().jobs <= len(self.network.open):
                return

    def orders(self, node: str) -> list[ReplicaKey] | None:
        """Return what a worker was last told to run, or None when it never was told."""
        last = self.network.last(node, DesiredReplicas)
        return None if last is None else [order.key for order in last.orders]

    def order_count(self, node: str) -> int:
        return sum(isinstance(each, DesiredReplicas) for each in self.network.told[node])

    def table(self, node: str) -> RoutingTable | None:
        return self.network.last(node, RoutingTable)

    def forget_told(self) -> None:
        self.network.told.clear()


@asynccontextmanager
async def running_head(path: Path, *, epoch: int = 1) -> AsyncIterator[Head]:
    """Run a head on the state in a folder; the next one on the same folder is its restart."""
    store = await anyio.to_thread.run_sync(Store.open, sqlite_url(path / "state.db"))
    try:
        head = Head(ControllerStore(store), epoch)
        async with head.system:
            await head.start()
            yield head
    finally:
        store.close()
