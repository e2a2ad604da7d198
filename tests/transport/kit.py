"""What the transport's tests share: messages, an actor system that only records, and nodes over loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import define, evolve, field, frozen

from sllm_actors.actors.identity import Address, Incarnation, NodeId
from sllm_actors.actors.message import Catalog
from sllm_actors.actors.network import Envelope, ReplyTo
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.transport import (
    NodeIdentity,
    PeerDoubted,
    PeerLost,
    PeerTrusted,
    PeerUp,
    Transport,
    TransportSettings,
)

CLUSTER = "test-cluster"
SECRET = b"a secret of the test cluster"
CATALOG = Catalog()
PATIENT = TransportSettings(heartbeat=0.1, missed=100, handshake_timeout=30.0, reconnect_cap=0.2)
"""For tests in which nobody is to be lost, however busy the machine is."""
QUICK = evolve(PATIENT, missed=5, handshake_timeout=2.0)
"""For tests that wait for a loss: half a second of silence is one."""


@CATALOG.message("test.text")
@frozen
class Text:
    text: str = ""


@CATALOG.message("test.blob")
@frozen
class Blob:
    body: bytes


@CATALOG.message("test.whereabouts")
@frozen
class Whereabouts:
    address: Address
    weights: tuple[float, ...] = ()
    note: str | None = None


@CATALOG.message("test.open")
@frozen
class Open:
    replica: str


@frozen
class Unregistered:
    text: str = ""


def life(counter: int, nonce: int = 7) -> Incarnation:
    return Incarnation(counter, nonce)


def identity(node: str, role: str = "worker", counter: int = 1) -> NodeIdentity:
    return NodeIdentity(NodeId(node), role, life(counter), CLUSTER)


@define
class Recorder:
    """An actor system that writes down what the transport reports, and answers asks with the same message."""

    got: list[tuple[NodeId, Envelope]] = field(factory=list)
    monitors: list[tuple[NodeId, Address, int]] = field(factory=list)
    demonitors: list[tuple[NodeId, Address, int]] = field(factory=list)
    downs: list[tuple[NodeId, int, str]] = field(factory=list)
    peers_down: list[tuple[NodeId, Incarnation, str]] = field(factory=list)
    dead: list[tuple[Envelope, str]] = field(factory=list)
    log: list[Any] = field(factory=list)
    answer: Callable[[Envelope, ReplyTo], None] | None = None

    def on_envelope(self, peer: NodeId, envelope: Envelope, reply_to: ReplyTo | None) -> None:
        self.got.append((peer, envelope))
        self.log.append(envelope.message)
        if reply_to is not None:
            if self.answer is not None:
                self.answer(envelope, reply_to)
            else:
                reply_to(envelope.message)

    def on_monitor(self, peer: NodeId, target: Address, watch: int) -> None:
        self.monitors.append((peer, target, watch))

    def on_demonitor(self, peer: NodeId, target: Address, watch: int) -> None:
        self.demonitors.append((peer, target, watch))

    def on_down(self, peer: NodeId, watch: int, reason: str) -> None:
        self.downs.append((peer, watch, reason))
        self.log.append(watch)

    def on_peer_down(self, peer: NodeId, incarnation: Incarnation, reason: str) -> None:
        self.peers_down.append((peer, incarnation, reason))

    def dead_letter(self, envelope: Envelope, reason: str) -> None:
        self.dead.append((envelope, reason))

    @property
    def messages(self) -> list[Any]:
        return [envelope.message for _, envelope in self.got]


@define
class Node:
    """A transport with everything that it reports."""

    transport: Transport
    inbound: Recorder
    events: list[PeerUp | PeerLost]
    refusals: list[tuple[str, str]]
    doubts: list[PeerDoubted | PeerTrusted]
    port: int = 0

    @property
    def id(self) -> NodeId:
        return self.transport.identity.node

    def at(self, key: int | str) -> Address:
        return Address(self.id, None if isinstance(key, str) else self.transport.identity.incarnation, key)

    def tell(self, target: Address, message: object, **more: Any) -> None:
        self.transport.tell(Envelope(target, message, **more))

    async def ask(self, target: Address, message: object, **more: Any) -> Any:
        answered = anyio.Event()
        outcome: list[Any] = []

        def reply_to(value: Any) -> None:
            outcome.append(value)
            answered.set()

        self.transport.ask(Envelope(target, message, **more), reply_to)
        with anyio.fail_after(60):
            await answered.wait()
        assert len(outcome) == 1
        return outcome[0]

    def ups(self) -> list[PeerUp]:
        return [event for event in self.events if isinstance(event, PeerUp)]

    def losses(self) -> list[PeerLost]:
        return [event for event in self.events if isinstance(event, PeerLost)]


def listening_socket() -> socket.socket:
    raw = socket.create_server(("127.0.0.1", 0))
    raw.setblocking(False)
    return raw


@asynccontextmanager
async def node(
    name: str, *, counter: int = 1, serve: bool = True, raw: socket.socket | None = None, **more: Any
) -> AsyncIterator[Node]:
    """Run a node; it listens on loopback unless told not to."""
    inbound = Recorder()
    events: list[PeerUp | PeerLost] = []
    refusals: list[tuple[str, str]] = []
    doubts: list[PeerDoubted | PeerTrusted] = []
    counters = iter(range(counter + 1, counter + 100))
    options: dict[str, Any] = {
        "secret": SECRET,
        "catalog": CATALOG,
        "inbound": inbound,
        "settings": PATIENT,
        "on_peer": events.append,
        "on_doubt": doubts.append,
        "on_no_link": lambda no_link: refusals.append((no_link.address, no_link.reason)),
        "next_incarnation": lambda: life(next(counters)),
    }
    role = more.pop("role", "worker")
    options["identification"] = identification_of(CLUSTER, name, role)
    transport = Transport(identity(name, role, counter), **{**options, **more})
    async with transport:
        here = Node(transport, inbound, events, refusals, doubts)
        async with anyio.create_task_group() as tasks:
            if serve:
                raw = raw or listening_socket()
                here.port = raw.getsockname()[1]
                tasks.start_soon(transport.serve, [raw])
            yield here
            tasks.cancel_scope.cancel()


async def until(condition: Callable[[], Any], *, within: float = 60.0, what: str = "") -> None:
    """Wait until a condition holds."""
    with anyio.move_on_after(within):
        while not condition():  # noqa: ASYNC110 - conditions of any kind
            await anyio.sleep(0.005)
        return
    raise AssertionError(f"it did not come about within {within} s: {what}")


@asynccontextmanager
async def pair(
    *, left: dict[str, Any] | None = None, right: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Node, Node]]:
    """Run two nodes of which the left has dialled the right, and wait until both know."""
    async with node("right", role="head", **(right or {})) as there, node("left", **(left or {})) as here:
        here.transport.dial("127.0.0.1", there.port)
        await until(lambda: here.ups() and there.ups(), what="the link")
        yield here, there
