"""Plays the rest of the cluster for a gateway: what the head and the workers would tell it."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
from anyio.abc import ByteStream
from attrs import define, evolve, field

from sllm_actors.actors import ActorError, NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import OpenEngine, ReplicaReport, ReplicaState
from sllm_actors.gateway import Gateway, GatewaySettings, open_gateway, serve_http
from sllm_actors.gateway.routing.router import router_name
from sllm_actors.serving.messages import GATEWAY, ReplicaStates, RoutingTable, ServedModel, WorkerAddress
from sllm_actors.testing import TestSystem

MACHINE = "machine-1"


def served(model: str = "smol", backend: str = "llamacpp", **more: Any) -> ServedModel:
    return ServedModel(f"{model}:{backend}", model, backend, 1, **more)


def replica(
    deployment: str = "smol:llamacpp",
    state: ReplicaState = ReplicaState.READY,
    address: str = "",
    *,
    number: int = 1,
    attempt: int = 1,
    **more: Any,
) -> ReplicaReport:
    return ReplicaReport(
        ReplicaId(deployment, 1, number, attempt), state, address, **({"machine": MACHINE} | more)
    )


@define
class PlayedCluster:
    """The head and the workers of one gateway.

    Attributes:
        tunnels: The requests for tunnels that came; each is led to the port ``tunnel_to``.
        tunnel_refusal: What is raised instead, if anything.
        dialled: What the gateway was told to be linked to.
        shutdown: Set to stop the gateway.
    """

    system: TestSystem
    gateway: Gateway
    url: str
    settings: GatewaySettings
    head: NodeId | None = None
    tunnels: list[tuple[NodeId, OpenEngine]] = field(factory=list)
    tunnel_to: int = 0
    tunnel_refusal: Exception | None = None
    dialled: list[tuple[WorkerAddress, ...]] = field(factory=list)
    shutdown: anyio.Event = field(factory=anyio.Event)
    _to_close: list[Callable[[], Awaitable[None]]] = field(factory=list)
    _epochs: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def tell(self, message: object) -> None:
        self.system.named(GATEWAY).tell(message)

    async def deploy(self, *models: ServedModel) -> None:
        self.tell(RoutingTable((1, next(self._epochs)), models))
        await self.settle()

    async def report(self, *replicas: ReplicaReport, node: str = "worker-1") -> None:
        self.tell(ReplicaStates(node, next(self._epochs), replicas))
        await self.settle()

    async def settle(self) -> None:
        """Wait until the gateway's actors have handled what they were told; each then answers a question."""
        for name in (GATEWAY, *map(router_name, self.gateway.deployments())):
            with suppress(ActorError):  # "I take no such question" is an answer too
                await self.system.named(name).ask("settled?", timeout=5)

    def client(self, **more: Any) -> openai.AsyncOpenAI:
        """Return a client, closed at the end of the test."""
        options: dict[str, Any] = {"max_retries": 0, "api_key": "none", "timeout": 60} | more
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", **options)
        self._to_close.append(client.close)
        return client

    def http(self) -> httpx2.AsyncClient:
        """Return a plain HTTP client, closed at the end of the test."""
        client = httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=30)
        self._to_close.append(client.aclose)
        return client

    async def close(self) -> None:
        """Close the clients."""
        for close in self._to_close:
            await close()


@asynccontextmanager
async def running_gateway(folder: Path, *, grace: float = 1, **more: Any) -> AsyncIterator[PlayedCluster]:
    """Run a gateway on a free port; ``more`` are settings, ``grace`` what requests get when it stops."""
    settings = GatewaySettings(snapshot_path=folder / "routing.json", machine=MACHINE)
    settings = evolve(settings, **more)
    played: PlayedCluster

    async def open_tunnel(node: NodeId, request: OpenEngine) -> ByteStream:
        played.tunnels.append((node, request))
        if played.tunnel_refusal is not None:
            raise played.tunnel_refusal
        return await anyio.connect_tcp("127.0.0.1", played.tunnel_to)

    dialled: list[tuple[WorkerAddress, ...]] = []
    async with TestSystem(node=NodeId("gateway-1")) as system:
        gateway = open_gateway(
            system,
            settings=settings,
            open_tunnel=open_tunnel,
            dial_workers=dialled.append,
            head_node=lambda: played.head,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        played = PlayedCluster(system, gateway, url, settings, dialled=dialled)
        await system.start(gateway.child_spec)
        shutdown = played.shutdown
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                lambda: serve_http(
                    gateway.asgi, listener, shutdown=shutdown, grace=grace, give_up=gateway.give_up
                )
            )
            try:
                yield played
            finally:
                await played.close()
                shutdown.set()
    assert gateway.in_flight.total == 0
