"""What the worker's actor needs of its node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from sllm_actors.actors import Actor, ActorRef
from sllm_actors.engines.messages import InspectSource, LogChunk, ReadLog, ReplicaOrder, SourceInspected
from sllm_actors.models.store import ModelStore
from sllm_actors.serving.messages import Inventory
from sllm_actors.transport import Peer

from .epoch import ObeyedEpoch
from .stock import Engines


@frozen
class WorkerRuntime:
    """What a ``WorkerActor`` needs of its node. Functions that block are called in threads.

    Attributes:
        make_replica: Makes the actor of a replica, which reports to the given ref.
        inspect: Answers ``InspectSource``, in a limited time even if a disk does not answer. An exception
            says nothing about the source.
        read_log: Reads a piece of a replica's log; blocks.
        inventory: Returns what the machine has; blocks.
        engines: Returns what engines are installed, for ``has_more_engines``; blocks for a moment.
        name: The worker's name; "" if it has none.
        models: The model files of this worker.
        interpreter: Returns the Python that engines of a backend run under; blocks.
        peers: Returns the nodes that are linked now.
        epoch: The highest epoch of a head that was obeyed.
        slots: The most engines that may run at a time, or None for no limit.
    """

    make_replica: Callable[[ReplicaOrder, ActorRef], Actor]
    inspect: Callable[[InspectSource], Awaitable[SourceInspected]]
    read_log: Callable[[ReadLog], LogChunk]
    inventory: Callable[[], Inventory]
    engines: Callable[[], Engines]
    name: str
    models: ModelStore
    interpreter: Callable[[str], str]
    peers: Callable[[], tuple[Peer, ...]]
    epoch: ObeyedEpoch
    slots: int | None = None
