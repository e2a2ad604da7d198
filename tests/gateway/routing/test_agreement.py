"""Whatever is lost and whoever restarts: in the end a gateway's routes are what head and workers say."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.played_nodes import PlayedNodes

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.route import Route, make_route
from sllm_actors.serving.messages import GATEWAY, ServedModel, Withdrawn, WorkerAddress
from sllm_actors.transport import PeerUp

pytestmark = pytest.mark.anyio

MODELS = [f"m{number}" for number in range(6)]
WORKERS = [f"w{number}" for number in range(4)]
STATES = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.READY, ReplicaState.DRAINING)


class Cluster:
    """What head and workers say, and a hand that lets things go wrong."""

    def __init__(self, rng: Random, played: PlayedCluster) -> None:
        self.rng = rng
        self.played = played
        self.nodes = played.nodes
        self.models: dict[str, ServedModel] = {}
        self.replicas: dict[str, list[ReplicaReport]] = {node: [] for node in WORKERS}

    async def step(self) -> None:
        act = self.rng.choice([self.serve, self.report, self.report, self.link, self.unlink, self.restart])
        act()
        if self.rng.random() < 0.1:
            self.nodes.beat()
        if self.rng.random() < 0.7:
            await self.played.settle()

    def serve(self) -> None:
        name = self.rng.choice(MODELS)
        revisions = tuple(sorted(self.rng.sample((1, 2, 3), self.rng.randint(1, 2))))
        self.models[name] = served(name, uid=self.rng.choice("uv"), revisions=revisions)
        if self.rng.random() < 0.3:
            del self.models[name]
        self.nodes.head.serve(self.models.values())
        self.nodes.head.locate(WorkerAddress(node, "h", 1) for node in WORKERS if self.rng.random() < 0.8)

    def report(self) -> None:
        node = self.rng.choice(WORKERS)
        self.replicas[node] = [self._replica(number) for number in range(self.rng.randint(0, 6))]
        self.nodes.worker(node).have(self.replicas[node])

    def _replica(self, number: int) -> ReplicaReport:
        choose = self.rng.choice
        more: dict[str, Any] = {"uid": choose("uv"), "revision": choose((1, 2, 3))}
        state = choose(STATES)
        return replica(f"{choose(MODELS)}:llamacpp", state, number=number, withdrawal=number, **more)

    def link(self) -> None:
        node = self.rng.choice([*WORKERS, "head"])
        role = "head" if node == "head" else "worker"
        self.nodes.link(node, role, heard=self.rng.random() < 0.8)

    def unlink(self) -> None:
        if self.nodes.linked:
            self.nodes.lose(self.rng.choice(sorted(self.nodes.linked)), heard=self.rng.random() < 0.8)

    def restart(self) -> None:
        node = self.rng.choice([*WORKERS, "head", "gateway"])
        if node == "gateway":
            self.played.tell(PeerUp(None))  # type: ignore[arg-type]  # a bug
        elif node != "head":
            self.nodes.begin_worker(node).have(self.replicas[node])
        elif node not in self.nodes.linked:
            self.nodes.begin_head().serve(self.models.values())

    def expected(self) -> dict[str, Route]:
        made = {}
        for name, model in self.models.items():
            reports = [
                (node, report)
                for node in WORKERS
                for report in self.replicas[node]
                if report.id.deployment == model.id
            ]
            made[f"{name}:llamacpp"] = make_route(f"{name}:llamacpp", model, reports, patience=5)
        return made

    def given_back(self) -> bool:
        told = {(node, said.id) for node, said in self.nodes.heard if isinstance(said, Withdrawn)}
        draining = {
            (node, report.id)
            for node in WORKERS
            for report in self.replicas[node]
            if report.state is ReplicaState.DRAINING
        }
        return draining <= told


@pytest.mark.parametrize("seed", range(8))
async def test_after_the_last_fault_all_agree_and_all_that_leaves_is_given_back(
    tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    async with running_gateway(tmp_path, nodes=PlayedNodes(page=3)) as played:
        cluster, nodes = Cluster(rng, played), played.nodes
        nodes.loses = lambda _: rng.random() < 0.2
        for _ in range(60):
            await cluster.step()
        nodes.loses = lambda _: False
        if seed % 2:  # then all is to be given back anew
            nodes.heard.clear()
            for node in WORKERS:
                nodes.begin_worker(node).have(cluster.replicas[node])
        for node in [*WORKERS, "head"]:
            nodes.link(node, "head" if node == "head" else "worker", heard=False)
        with anyio.fail_after(60):
            while played.gateway.board.routes != cluster.expected() or not cluster.given_back():
                nodes.beat()
                await anyio.sleep(0.02)
        assert played.system.whereis(GATEWAY) is not None
