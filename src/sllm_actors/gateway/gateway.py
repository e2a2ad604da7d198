"""A gateway, put together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from random import SystemRandom
from typing import cast

from attrs import frozen

from sllm_actors.actors import ActorSystem, ChildSpec
from sllm_actors.gateway.api.app import Control, HeadNode, build_app
from sllm_actors.gateway.api.instances import Instances
from sllm_actors.gateway.path.dispatch import Dispatcher
from sllm_actors.gateway.path.ingress import ASGI, Ingress
from sllm_actors.gateway.path.upstream import Connector, OpenTunnel
from sllm_actors.gateway.routing.actor import DialWorkers, GatewayActor, Memory
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.in_flight import InFlight
from sllm_actors.gateway.routing.knowledge import Knowledge
from sllm_actors.gateway.routing.router import RouterTools
from sllm_actors.serving.messages import GATEWAY

from .settings import GatewaySettings


@frozen
class Gateway:
    """What a node starts and serves.

    Attributes:
        child_spec: The actor ``GATEWAY``, to be started under the node's supervision tree. It takes
            ``RoutingTable``, ``ReplicaStates``, and from its own node ``WorkerUp`` and ``WorkerLost``.
        asgi: For ``serve_http``; to be served by the loop that runs the actor system.
        in_flight: The requests under way.
        board: The routes as the hot path sees them.
        give_up: For ``serve_http``: ends all requests under way with the error ``gateway_stopping``.
    """

    child_spec: ChildSpec
    asgi: ASGI
    in_flight: InFlight
    board: Board
    give_up: Callable[[], None]

    def deployments(self) -> tuple[str, ...]:
        """Return the ids of what is served, in order."""
        return tuple(sorted(self.board.routes))


def open_gateway(
    system: ActorSystem,
    *,
    settings: GatewaySettings,
    open_tunnel: OpenTunnel,
    dial_workers: DialWorkers,
    head_node: HeadNode,
) -> Gateway:
    """Put a gateway together; nothing runs until its child is started and its app is served.

    Args:
        system: The node's actor system.
        settings: Everything that is fixed for this life.
        open_tunnel: Connects with an engine through its worker. What it raises of ``TransportError``,
            ``ActorError``, ``OSError`` and anyio's stream errors counts as a broken engine.
        dial_workers: Told all workers to be linked to, whenever they change. Must not block or raise.
        head_node: Gives the head's node while there is a link to it.
    """
    memory = Memory()
    tools = RouterTools(Board(), InFlight(), settings)
    app = build_app(
        board=tools.board,
        control=Control(system, head_node, settings.control_timeout),
        instances=Instances(system, lambda: memory.knowledge or Knowledge(), settings.control_timeout),
        settings=settings,
    )
    connector = Connector(settings.machine, open_tunnel, settings.connect_timeout)
    dispatcher = Dispatcher(system, tools, connector, SystemRandom(), secrets.token_hex(8).encode())
    ingress = Ingress(cast("ASGI", app), dispatcher, settings)
    spec = ChildSpec(GATEWAY, lambda: GatewayActor(tools, memory, dial_workers), name=GATEWAY)
    return Gateway(spec, ingress, tools.in_flight, tools.board, ingress.give_up)
