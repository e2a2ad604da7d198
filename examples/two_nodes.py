"""Two nodes and a real link between them: an ask by name, a monitor, and the Down when the other node stops.

Both live in this process, joined by TCP over loopback; on two machines nothing but the address would differ.

Run it:  python examples/two_nodes.py
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, ActorSystem, Catalog, ChildSpec, Down, Incarnation, NodeId
from sllm_actors.transport import (
    Identification,
    KeyPair,
    NodeIdentity,
    PeerLost,
    PeerUp,
    Transport,
    issue_credential,
    reference_hooks,
)

CATALOG = Catalog()  # the closed set of what may cross: a peer can name nothing else


@CATALOG.message("greeting.greet")
@frozen
class Greet:
    name: str


@CATALOG.message("greeting.greeting")
@frozen
class Greeting:
    """Carries a ref to who greets: it leads to one incarnation, the name to whoever has it."""

    text: str
    greeter: ActorRef


class Greeter(Actor):
    async def receive(self, message: Greet) -> Greeting:
        return Greeting(f"hello {message.name}, from {self.context.ref.address.node}", self.context.ref)


class Watcher(Actor):
    def __init__(self, watched: ActorRef, over: anyio.Event) -> None:
        self.watched = watched
        self.over = over

    async def started(self) -> None:
        self.context.monitor(self.watched)

    async def receive(self, message: Down) -> None:
        print(f"the greeter is down ({message.reason})")
        self.over.set()


class Node:
    """An actor system and its transport."""

    def __init__(self, name: str, secret: bytes, head_key: KeyPair) -> None:
        self.name = NodeId(name)
        self.linked = anyio.Event()
        identity = NodeIdentity(self.name, "example", Incarnation(1, secrets.randbits(64)), cluster="example")
        key = KeyPair.from_seed(secrets.token_bytes(32))  # (a real node keeps it, and its credential)
        credential = issue_credential(
            head_key, cluster="example", node=self.name, role="example", public_key=key.public_key
        )
        self.system = ActorSystem(node=self.name, incarnation=identity.incarnation)
        self.transport = Transport(
            identity,
            secret=secret,
            identification=Identification(key, lambda: credential),
            catalog=CATALOG,
            inbound=self.system,
            on_peer=self.on_peer,
            next_incarnation=self.next_incarnation,
            hooks=reference_hooks(self.system),
        )
        self.system.attach(self.transport)

    def on_peer(self, event: PeerUp | PeerLost) -> None:
        if isinstance(event, PeerUp):
            print(f"{self.name}: linked to {event.peer.node}")
            self.linked.set()
        else:
            print(f"{self.name}: lost {event.peer.node} ({event.reason})")

    def next_incarnation(self) -> Incarnation:
        """A peer had declared this life down while it could not be reached. (A real node also saves it.)"""
        self.system.incarnation = Incarnation(self.system.incarnation.counter + 1, secrets.randbits(64))
        return self.system.incarnation


@asynccontextmanager
async def running(name: str, secret: bytes, head_key: KeyPair) -> AsyncIterator[tuple[Node, tuple[str, int]]]:
    """Run a node; give it, and the address that it listens on."""
    node = Node(name, secret, head_key)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with node.transport, node.system, anyio.create_task_group() as tasks:
        tasks.start_soon(node.transport.serve, [listener])
        yield node, listener.getsockname()
        tasks.cancel_scope.cancel()


async def main() -> None:
    secret = secrets.token_bytes(32)  # who has it may join
    head_key = KeyPair.from_seed(secrets.token_bytes(32))  # it vouches for who each node is
    over = anyio.Event()
    async with running("left", secret, head_key) as (left, _):
        async with running("right", secret, head_key) as (right, (host, port)):
            await right.system.start(ChildSpec("greeter", Greeter, name="greeter"))
            left.transport.dial(host, port)
            await left.linked.wait()
            greeting = await left.system.named("greeter", right.name).ask(Greet("you"), timeout=5)
            print(greeting.text)
            again = await greeting.greeter.ask(Greet("again"), timeout=5)  # by ref, as if it lived here
            print(again.text)
            await left.system.start(ChildSpec("watcher", lambda: Watcher(greeting.greeter, over)))
            await anyio.sleep(0.1)
        await over.wait()


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
