"""A gateway put together from its parts."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from random import Random
from typing import cast

import anyio
from attrs import frozen

from sllm_actors.actors import ActorSystem, ChildSpec
from sllm_actors.gateway.api.app import build_app
from sllm_actors.gateway.api.control import Control, HeadNode
from sllm_actors.gateway.api.instances import Instances
from sllm_actors.gateway.path.dispatch import Dispatcher
from sllm_actors.gateway.path.ingress import ASGI, Ingress
from sllm_actors.gateway.path.upstream import Connector, OpenTunnel
from sllm_actors.gateway.routing.actor import DialWorkers, GatewayActor, Memory, NodeLinks
from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.balancer_shell import BalancerShell
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.following import Peers
from sllm_actors.gateway.routing.poison import Poison
from sllm_actors.gateway.routing.router import RouterTools
from sllm_actors.gateway.routing.snapshot_file import SnapshotFile
from sllm_actors.serving.messages import GATEWAY

from .settings import GatewaySettings


@frozen
class Gateway:
    """What a node starts and serves.

    Attributes:
        child_spec: The actor ``GATEWAY``, to be started under the node's supervision tree. It follows the
            streams of the head and of workers, and takes ``PeerUp`` and ``PeerLost`` from its own node.
        asgi: The ASGI application for ``serve_http``. It must run on the event loop of the actor system.
        balancer: Which requests wait, and which are under way at each replica.
        board: The routes as the hot path reads them.
        poison: Which engines have died, and what of.
        give_up: For ``serve_http``: ends all requests under way with the error ``gateway_stopping``.
        complete: Set when the gateway knows of all deployments, from the head or from its disk.
    """

    child_spec: ChildSpec
    asgi: ASGI
    balancer: Balancer
    board: Board
    poison: Poison
    give_up: Callable[[], None]
    complete: anyio.Event

    def deployments(self) -> tuple[str, ...]:
        """Return the ids of all deployments that this gateway serves, sorted."""
        return tuple(sorted(self.board.routes))


def open_gateway(
    system: ActorSystem,
    *,
    settings: GatewaySettings,
    open_tunnel: OpenTunnel,
    dial_workers: DialWorkers,
    head_node: HeadNode,
    peers: Peers,
) -> Gateway:
    """Put a gateway together; nothing runs until its ``child_spec`` is started and its ``asgi`` is served.

    Args:
        system: The node's actor system.
        settings: Everything that is fixed for this life of the gateway.
        open_tunnel: Connects with an engine through its worker. ``NodeFull`` means that this node or the
            worker has no room for it. Any other ``TransportError``, and ``ActorError``, ``OSError`` and
            anyio's stream errors, count as a broken engine.
        dial_workers: Called at the start with all workers that this gateway should be linked to, and at each
            change with those that are new or have another address, and those that are gone. Must not block or
            raise.
        head_node: Returns the head's node id, or None while there is no link to it.
        peers: Returns the nodes that are linked now.
    """
    poison = Poison(system.node, system.named(GATEWAY).tell)
    memory = Memory(SnapshotFile(settings.snapshot_path), poison)
    links = NodeLinks(dial_workers, peers, head_node)
    rng = Random()  # noqa: S311 - it only spreads load
    balancer = Balancer(system.clock.now, rng, BalancerShell(system), restart_notice=settings.restart_notice)
    tools = RouterTools(Board(), balancer, settings)
    app = build_app(
        board=tools.board,
        control=Control(system, head_node, settings.control_timeout),
        instances=Instances(system, lambda: memory.knowledge, settings.control_timeout),
        settings=settings,
    )
    connector = Connector(settings.machine, open_tunnel, settings.connect_timeout)
    dispatcher = Dispatcher(system, tools, connector, secrets.token_hex(8).encode())
    ingress = Ingress(cast("ASGI", app), dispatcher, settings)
    spec = ChildSpec(GATEWAY, lambda: GatewayActor(tools, memory, links), name=GATEWAY)
    return Gateway(spec, ingress, balancer, tools.board, poison, ingress.give_up, memory.complete)
