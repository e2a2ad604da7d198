"""Plays the rest of the cluster for a gateway: what the head and the workers would tell it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
from attrs import define, evolve, field
from tests.http_server.shells import CLEARTEXT, Shell

from sllm_actors.actors import ActorError, NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import OpenEngine, ReplicaReport, ReplicaState
from sllm_actors.gateway import Gateway, GatewaySettings, open_gateway
from sllm_actors.gateway.errors import gateway_stopping
from sllm_actors.gateway.routing.router import router_name
from sllm_actors.serving.messages import GATEWAY, ServedModel, UnreachedWorker, WorkerAddress
from sllm_actors.testing import TestSystem

from .played_nodes import PlayedNodes
from .played_streams import PlayedStream

MACHINE = "machine-1"


def served(model: str = "smol", backend: str = "llamacpp", **more: Any) -> ServedModel:
    return ServedModel(f"{model}:{backend}", model, backend, 1, **({"revisions": (1,)} | more))


def replica(
    deployment: str = "smol:llamacpp",
    state: ReplicaState = ReplicaState.READY,
    address: str = "",
    *,
    number: int = 1,
    attempt: int = 1,
    revision: int = 1,
    uid: str = "",
    **more: Any,
) -> ReplicaReport:
    me = ReplicaId(deployment, revision, number, attempt, uid)
    return ReplicaReport(me, state, address, **({"machine": MACHINE} | more))


@define
class PlayedCluster:
    """The head and the workers of one gateway.

    Attributes:
        tunnels: The requests for tunnels that came; each is led to the port ``tunnel_to``.
        tunnel_refusal: What is raised instead, if anything.
        dialled: To whom the gateway wanted to be linked after each change.
        shutdown: Set to stop the gateway.
        shell: The server that serves it.
        nodes: The head and the workers, which play their parts of the streams.
    """

    system: TestSystem
    gateway: Gateway
    url: str
    settings: GatewaySettings
    nodes: PlayedNodes
    shell: Shell
    head: NodeId | None = None
    tunnels: list[tuple[NodeId, OpenEngine]] = field(factory=list)
    tunnel_to: int = 0
    tunnel_refusal: Exception | None = None
    dialled: list[tuple[WorkerAddress, ...]] = field(factory=list)
    unreached: tuple[UnreachedWorker, ...] = ()
    shutdown: anyio.Event = field(factory=anyio.Event)
    _to_close: list[Callable[[], Awaitable[None]]] = field(factory=list)

    def tell(self, message: object) -> None:
        self.system.named(GATEWAY).tell(message)

    async def deploy(self, *models: ServedModel) -> None:
        """Let exactly these models be deployed."""
        self.nodes.link("head", "head")
        self.nodes.head.serve(models)
        await self.settle()

    async def report(self, *replicas: ReplicaReport, node: str = "worker-1") -> None:
        """Let a worker have exactly these replicas."""
        self.nodes.link(node, "worker")
        self.nodes.worker(node).have(replicas)
        await self.settle()

    async def lose(self, node: str) -> None:
        """Let the link to a node be lost."""
        self.nodes.lose(node)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the gateway's actors have handled what they were told; each then answers a question."""
        said = -1
        while said != self.nodes.said:
            said = self.nodes.said
            await self._answered(GATEWAY)
        for deployment in self.gateway.deployments():
            await self._answered(router_name(deployment))

    async def _answered(self, name: str) -> None:
        with suppress(ActorError):  # "I take no such question" is an answer too
            await self.system.named(name).ask("settled?", timeout=60)

    def client(self, **more: Any) -> openai.AsyncOpenAI:
        """Return a client, closed at the end of the test."""
        options: dict[str, Any] = {"max_retries": 0, "api_key": "none", "timeout": 60} | more
        if self.shell.protocols:
            options.setdefault("http_client", self.http())
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", **options)
        self._to_close.append(client.close)
        return client

    def http(self) -> httpx2.AsyncClient:
        """Return a plain HTTP client, closed at the end of the test."""
        client = self.shell.client(self.url)
        self._to_close.append(client.aclose)
        return client

    async def close(self) -> None:
        """Close the clients."""
        for close in self._to_close:
            await close()


@asynccontextmanager
async def running_gateway(
    folder: Path,
    *,
    grace: float = 1,
    nodes: PlayedNodes | None = None,
    shell: Shell = CLEARTEXT,
    tunnel: Callable[[OpenEngine, Any], object] | None = None,
    **more: Any,
) -> AsyncIterator[PlayedCluster]:
    """Run a gateway on a free port.

    Args:
        folder: Where its snapshot is.
        grace: Seconds that requests get when it stops.
        nodes: The rest of the cluster, perhaps known from an earlier gateway; none is linked at first.
        shell: The server that serves it.
        tunnel: Opens the streams to workers, in place of played ones.
        more: Its settings.
    """
    settings = GatewaySettings(snapshot_path=folder / "routing.json", machine=MACHINE)
    settings = evolve(settings, **more)
    played: PlayedCluster

    def open_stream(node: NodeId, request: OpenEngine, protocol: Any) -> None:
        played.tunnels.append((node, request))
        if tunnel is not None:
            tunnel(request, protocol)
            return
        stream = PlayedStream(protocol)
        protocol.connection_made(stream)
        if played.tunnel_refusal is not None:
            asyncio.get_running_loop().call_soon(stream.refuse, played.tunnel_refusal)
        else:
            tasks.start_soon(stream.connect, played.tunnel_to)

    dialled: list[tuple[WorkerAddress, ...]] = []
    addresses: dict[str, WorkerAddress] = {}

    def dial_workers(workers: Iterable[WorkerAddress], gone: Iterable[str]) -> None:
        addresses.update({worker.node: worker for worker in workers})
        for node in gone:
            del addresses[node]
        dialled.append(tuple(addresses.values()))

    async with TestSystem(node=NodeId("gateway-1")) as system:
        nodes = nodes or PlayedNodes()
        nodes.attach(system)
        gateway = open_gateway(
            system,
            settings=settings,
            open_stream=open_stream,
            dial_workers=dial_workers,
            head_node=lambda: played.head or nodes.linked_head,
            peers=nodes.peers,
            doubted=lambda: frozenset(nodes.doubted),
            unreached=lambda: played.unreached,
            is_stopping=lambda: played.shutdown.is_set(),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        url = shell.url(listener)
        played = PlayedCluster(system, gateway, url, settings, nodes, shell, dialled=dialled)
        await system.start(gateway.child_spec)
        shutdown = played.shutdown

        async def serve() -> None:
            if shell.hypercorn:
                last = {"give_up": gateway.give_up, "last_word": gateway_stopping()}
                await shell.serve(gateway.app, listener, shutdown=shutdown, grace=grace, **last)
            else:
                await gateway.serve(listener, shutdown=shutdown, grace=grace)

        async with gateway.running(), anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                yield played
            finally:
                await played.close()
                shutdown.set()
    assert gateway.balancer.total == 0
    assert gateway._inference.budget.held == 0, "bytes of requests that are over are counted"
