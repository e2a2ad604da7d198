"""Two systems in one process, joined by a network that a test can hold up, cut and look at."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sllm_actors.actors import (
    Address,
    Envelope,
    Inbound,
    Incarnation,
    Network,
    NodeId,
    PeerDown,
    ReplyTo,
)
from sllm_actors.testing import TestSystem

LEFT, RIGHT = NodeId("left"), NodeId("right")


class MemoryNetwork:
    """One side's ``Network``. Everything goes through one queue, delivered at once unless ``held``."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.peer: Inbound
        self.own: Inbound
        self.held = False
        self.cut = False
        self.queue: deque[Callable[[], None]] = deque()
        self.sent: list[Envelope] = []
        self.calls: list[str] = []
        self.forgotten = 0

    def _send(self, deliver: Callable[[], None]) -> None:
        self.queue.append(deliver)
        if not self.held:
            self.release()

    def release(self) -> None:
        """Deliver what was held."""
        self.held = False
        while self.queue:
            self.queue.popleft()()

    def tell(self, envelope: Envelope) -> None:
        self.sent.append(envelope)
        if self.cut:
            self.own.dead_letter(envelope, "the link is down")
        else:
            self._send(lambda: self.peer.on_envelope(self.node, envelope, None))

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        self.sent.append(envelope)
        if self.cut:
            reply_to(PeerDown(envelope.target.node, "the link is down"))
        else:
            self._send(lambda: self.peer.on_envelope(self.node, envelope, reply_to))
        return self._forget

    def _forget(self) -> None:
        self.forgotten += 1

    def monitor(self, target: Address, watch: int) -> None:
        self.calls.append("monitor")
        self._send(lambda: self.peer.on_monitor(self.node, target, watch))

    def demonitor(self, target: Address, watch: int) -> None:
        self.calls.append("demonitor")
        self._send(lambda: self.peer.on_demonitor(self.node, target, watch))

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        self.calls.append(f"down {peer}")
        self._send(lambda: self.peer.on_down(self.node, watch, reason))


class Pair:
    """Both systems and both ends of the network between them."""

    def __init__(self) -> None:
        self.left_net, self.right_net = MemoryNetwork(LEFT), MemoryNetwork(RIGHT)
        self.left = TestSystem(node=LEFT, incarnation=Incarnation(1, 11), network=self.left_net)
        self.right = TestSystem(node=RIGHT, incarnation=Incarnation(1, 22))
        self.right.attach(self.right_net)
        self.left_net.own = self.right_net.peer = self.left
        self.right_net.own = self.left_net.peer = self.right


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Run two systems that are joined."""
    joined = Pair()
    async with joined.left, joined.right:
        yield joined


def conforms(network: MemoryNetwork, system: TestSystem) -> tuple[Network, Inbound]:
    """For the type checker: both sides are what the seam says."""
    return network, system
