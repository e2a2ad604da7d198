"""A node of the benchmark: an actor system with the real transport over loopback TCP."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from attrs import frozen

from sllm_actors.actors import ActorSystem, Incarnation, NodeId
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.transport import NodeIdentity, PeerLost, PeerUp, Transport, TransportSettings

from .messages import CATALOG

SECRET = b"a secret of the benchmark"

ROOMY = TransportSettings(queue_bytes=128 * 2**20, receiver_queue_bytes=96 * 2**20)
"""Room for 64 messages of 1 MB to one receiver at a time; everything else, the windows too, as by default."""


@frozen
class BenchNode:
    """A running node; ``up`` is set when it has a peer."""

    system: ActorSystem
    transport: Transport
    up: anyio.Event


@asynccontextmanager
async def bench_node(name: str) -> AsyncIterator[BenchNode]:
    """Open a node that neither listens nor dials yet."""
    up = anyio.Event()
    life = Incarnation(1, os.getpid())

    def news(event: PeerUp | PeerLost) -> None:
        if isinstance(event, PeerUp):
            up.set()

    async with ActorSystem(node=NodeId(name), incarnation=life) as system:
        transport = Transport(
            NodeIdentity(NodeId(name), "worker", life, "bench"),
            secret=SECRET,
            identification=identification_of("bench", name, "worker"),
            catalog=CATALOG,
            inbound=system,
            on_peer=news,
            next_incarnation=lambda: Incarnation(life.counter + 1, life.nonce),
            settings=ROOMY,
        )
        system.attach(transport)
        async with transport:
            yield BenchNode(system, transport, up)
            await system.stop()


def listening_socket() -> socket.socket:
    """Bind a free port of loopback."""
    raw = socket.create_server(("127.0.0.1", 0))
    raw.setblocking(False)
    return raw
