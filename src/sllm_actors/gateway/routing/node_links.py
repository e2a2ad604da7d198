"""The links of the gateway's node, as its actor needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from sllm_actors.actors import NodeId
from sllm_actors.serving.messages import UnreachedWorker, WorkerAddress
from sllm_actors.transport import Peer

DialWorkers = Callable[[Iterable[WorkerAddress], Iterable[str]], None]
"""Takes workers that the gateway should be linked to, and the node ids of those that are gone. Must not block
or raise."""


@frozen
class NodeLinks:
    """The links of the gateway's node.

    Attributes:
        dial_workers: Called with all workers to be linked to at the start of the actor, and then with those
            that change.
        peers: Returns the nodes that are linked now.
        head: Returns the head whose link came up last, or None while that link is down.
        doubted: Returns the nodes that are linked, but may be gone: see ``PeerDoubted``.
        unreached: Returns the workers that are dialled in vain now.
    """

    dial_workers: DialWorkers
    peers: Callable[[], Iterable[Peer]]
    head: Callable[[], NodeId | None]
    doubted: Callable[[], frozenset[NodeId]] = frozenset
    unreached: Callable[[], tuple[UnreachedWorker, ...]] = tuple
