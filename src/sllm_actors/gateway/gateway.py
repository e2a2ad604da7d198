"""A gateway put together from its parts."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import cast

import anyio
from attrs import frozen

from sllm_actors.actors import ActorSystem, ChildSpec, NodeId
from sllm_actors.descriptors import MOST_CONNECTIONS
from sllm_actors.gateway.access.guard import Guard
from sllm_actors.gateway.api.app import build_app
from sllm_actors.gateway.api.control import Control, HeadNode
from sllm_actors.gateway.api.instances import Instances
from sllm_actors.gateway.api.pulls import PullClient
from sllm_actors.gateway.path.asgi_inference import Guarded
from sllm_actors.gateway.path.clients.asgi_request import ASGI
from sllm_actors.gateway.path.engines.connector import OpenStream
from sllm_actors.gateway.path.inference import Inference
from sllm_actors.gateway.path.server import HttpServer
from sllm_actors.gateway.routing.actor import GatewayActor
from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.balancer_shell import BalancerShell
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.following import Peers
from sllm_actors.gateway.routing.memory.keys import KnownKeys
from sllm_actors.gateway.routing.memory.memory import Memory
from sllm_actors.gateway.routing.memory.poison import Poison
from sllm_actors.gateway.routing.memory.snapshot_file import SnapshotFile
from sllm_actors.gateway.routing.node_links import DialWorkers, NodeLinks
from sllm_actors.gateway.routing.router import RouterTools
from sllm_actors.http_server import Seats
from sllm_actors.serving.keys.secret import digest_of
from sllm_actors.serving.messages import GATEWAY, UnreachedWorker

from .settings import GatewaySettings


@frozen
class Gateway:
    """What a node starts and serves.

    Attributes:
        child_spec: The actor ``GATEWAY``, to be started under the node's supervision tree. It follows the
            streams of the head and of workers, and takes the transport's news of links from its own node.
        app: The whole gateway as an ASGI application, for any server; only within ``running``.
        balancer: Which requests wait, and which are under way at each replica.
        board: The routes as the hot path reads them.
        poison: Which engines have died, and what of.
        complete: Set when the gateway knows of all deployments, from the head or from its disk.
    """

    child_spec: ChildSpec
    app: ASGI
    balancer: Balancer
    board: Board
    poison: Poison
    complete: anyio.Event
    _inference: Inference

    def deployments(self) -> tuple[str, ...]:
        """Return the ids of all deployments that this gateway serves, sorted."""
        return tuple(sorted(self.board.routes))

    def refusals(self) -> dict[str, int]:
        """Return how many requests were refused because of who asked, by the codes of their errors."""
        return dict(self._inference.refused)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what requests need beside their servers, on the event loop of the actor system."""
        async with self._inference.running():
            yield

    def give_up(self) -> None:
        """End every inference request under way, and each later one, with the error ``gateway_stopping``."""
        self._inference.give_up()

    async def serve(
        self,
        listener: socket.socket,
        *,
        shutdown: anyio.Event,
        grace: float,
        connections: int = MOST_CONNECTIONS,
        seats: Seats | None = None,
    ) -> None:
        """Serve cleartext HTTP/1.1; see ``HttpServer.serve``. Only within ``running``."""
        server = HttpServer(self.app, self._inference, connections)
        await server.serve(listener, shutdown=shutdown, grace=grace, seats=seats)


def open_gateway(
    system: ActorSystem,
    *,
    settings: GatewaySettings,
    open_stream: OpenStream,
    dial_workers: DialWorkers,
    head_node: HeadNode,
    peers: Peers,
    doubted: Callable[[], frozenset[NodeId]] = frozenset,
    unreached: Callable[[], tuple[UnreachedWorker, ...]] = tuple,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Gateway:
    """Put a gateway together; nothing runs until its ``child_spec`` is started and it is ``running``.

    Args:
        system: The node's actor system.
        settings: Everything that is fixed for this life of the gateway.
        open_stream: Reaches engines through their workers.
        dial_workers: Called at the start with all workers that this gateway should be linked to, and at each
            change with those that are new or have another address, and those that are gone. Must not block or
            raise.
        head_node: Returns the head's node id, or None while there is no link to it.
        peers: Returns the nodes that are linked now.
        doubted: Returns those of them that may be gone, see ``PeerDoubted``.
        unreached: Returns the workers that are dialled in vain now.
        is_stopping: Whether ``/health`` should say that no further requests are wanted.
    """
    poison = Poison(system.node, system.named(GATEWAY).tell)
    keys = KnownKeys("" if settings.admin_key is None else digest_of(settings.admin_key.encode()))
    memory = Memory(SnapshotFile(settings.snapshot_path), poison, keys)
    links = NodeLinks(dial_workers, peers, head_node, doubted, unreached)
    rng = Random()  # noqa: S311 - it only spreads load
    balancer = Balancer(system.clock.now, rng, BalancerShell(system), restart_notice=settings.restart_notice)
    tools = RouterTools(Board(), balancer, settings)
    gateway = secrets.token_hex(8).encode()

    def workers() -> list[NodeId]:
        return [peer.node for peer in peers() if peer.role == "worker"]

    guard = Guard(settings, keys)
    inference = Inference(
        system, tools.board, balancer, open_stream, poison, guard, settings, gateway, workers
    )
    control = Control(system, head_node, settings.control_timeout)
    app = build_app(
        board=tools.board,
        control=control,
        instances=Instances(system, lambda: memory.knowledge, settings.control_timeout),
        pulls=PullClient(system, control, settings.control_timeout),
        settings=settings,
        is_stopping=is_stopping,
    )
    guarded = Guarded(cast("ASGI", app), inference)
    spec = ChildSpec(GATEWAY, lambda: GatewayActor(tools, memory, links), name=GATEWAY)
    return Gateway(spec, guarded, balancer, tools.board, poison, memory.complete, inference)
