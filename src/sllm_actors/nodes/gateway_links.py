"""The links of a gateway: to the head, and to the workers whose addresses the head has told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from sllm_actors.actors import ActorSystem, NodeId
from sllm_actors.cluster.loopback import seen_from
from sllm_actors.host_port import HostPort
from sllm_actors.serving.messages import GATEWAY, UnreachedWorker, WorkerAddress
from sllm_actors.transport import NoLink, Peer, PeerLost, PeerUp


class OpenDial(Protocol):
    """A link that is kept up until it is closed."""

    def close(self) -> None: ...


DialNode: TypeAlias = Callable[[str, int, str], OpenDial]
"""Keeps a link up to a host and port where a node of that role must answer; see ``Transport.dial``."""


class GatewayLinks:
    """Knows which head is linked, and keeps dialling the workers.

    Args:
        on_head: Called when a head is linked.
        head_host: The address at which this node reaches the head: workers on the head's machine are there.
    """

    def __init__(self, on_head: Callable[[], None], head_host: str) -> None:
        self._on_head = on_head
        self._head_host = head_host
        self._head: Peer | None = None
        self._addresses: dict[str, tuple[str, int]] = {}
        self._nodes: dict[tuple[str, int], set[str]] = {}
        self._dials: dict[tuple[str, int], OpenDial] = {}
        self._why: dict[str, str] = {}

    @property
    def head(self) -> NodeId | None:
        """The node id of the head whose link came up last, or None while that link is down."""
        return None if self._head is None else self._head.node

    def news(self, system: ActorSystem, event: PeerUp | PeerLost) -> None:
        """Take an event of the transport: note which head is linked, and pass it to the gateway's actor."""
        if event.peer.role == "head":
            if isinstance(event, PeerUp):
                self._head = event.peer
                self._on_head()
            elif self._head == event.peer:  # not if a later life of it is linked already
                self._head = None
        elif isinstance(event, PeerUp) and (address := self._addresses.get(event.peer.node)) is not None:
            self._why.pop(str(HostPort(*address)), None)
        system.named(GATEWAY).tell(event)

    def on_no_link(self, no_link: NoLink) -> None:
        """Take the transport's report that a dialled address gave no link; only workers' addresses count."""
        if any(str(HostPort(*address)) == no_link.address for address in self._dials):
            self._why[no_link.address] = no_link.reason

    def unreached(self) -> tuple[UnreachedWorker, ...]:
        """Return the workers that are dialled in vain, since they were dialled or linked last."""
        if not self._why:
            return ()
        known = ((node, str(HostPort(*address))) for node, address in sorted(self._addresses.items()))
        return tuple(
            UnreachedWorker(node, address, self._why[address])
            for node, address in known
            if address in self._why
        )

    def dial_workers(self, dial: DialNode, workers: Iterable[WorkerAddress], gone: Iterable[str]) -> None:
        """Dial workers that are new or have another address, and let go of those that are gone.

        The cost is that of what changes. Of several workers with one address, that is dialled once, as long
        as one of them is left. A worker whose port is 0 cannot be dialled and is passed over.

        Args:
            dial: Dials an address.
            workers: The addresses; those that are known already change nothing.
            gone: The node ids of workers that are to be dialled no longer.
        """
        for worker in workers:
            host = seen_from(worker.host, self._head_host)
            self._place(dial, worker.node, (host, worker.port) if worker.port else None)
        for node in gone:
            self._place(dial, node, None)

    def _place(self, dial: DialNode, node: str, address: tuple[str, int] | None) -> None:
        before = self._addresses.pop(node, None)
        if address is not None:
            self._addresses[node] = address
        if address == before:
            return
        if address is not None:
            self._nodes.setdefault(address, set()).add(node)
            if address not in self._dials:
                self._dials[address] = dial(*address, "worker")
        if before is not None:
            self._nodes[before].remove(node)
            if not self._nodes[before]:
                del self._nodes[before]
                self._dials.pop(before).close()
                self._why.pop(str(HostPort(*before)), None)
