"""From a worker to the head: what its machine has."""

from __future__ import annotations

from attrs import field, frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.messages import ForkServerReport
from sllm_actors.models.eviction import CachedModel

CATALOG = Catalog()


@CATALOG.message("serving.worker_inventory", senders={"worker"}, names_sender="node")
@frozen
class WorkerInventory:
    """What a worker has: sent to the head when their link comes up, and when something has changed.

    Attributes:
        node: The worker's node id.
        sequence: Rises within one life of the worker; an older one never replaces a newer one.
        inventory: What the machine has.
        changes: Rises when the worker may accept now what it refused before: an engine was installed, say.
        epoch: The highest epoch of a head whose orders it has obeyed; 0 for none.
        obeys: The node id of another head that is linked, and whose orders it obeys; "" for none.
    """

    node: str
    sequence: int
    inventory: Inventory
    changes: int = 0
    epoch: int = 0
    obeys: str = ""


@frozen
class Inventory:
    """What a machine has. Memory in bytes.

    Attributes:
        name: The worker's name.
        host: The address at which gateways reach it, or "" for the one that its link comes from.
        port: The port on which its transport listens.
        gpus: Its GPUs, in the machine's order.
        cpus: How many CPU cores it has.
        memory_total: All memory.
        memory_free: Memory that is free now.
        labels: Labels by name, as the worker was started with.
        fork_servers: The fork servers of its engines.
        models: The models on its disk, whole or in part; at most the 256 that were used last.
        slots: The most engines that may run at a time, or None for no limit.
        memory_budget: Bytes of memory that engines may have together; 0 for no limit.
    """

    name: str = ""
    host: str = ""
    port: int = 0
    gpus: tuple[Gpu, ...] = ()
    cpus: int = 0
    memory_total: int = 0
    memory_free: int = 0
    labels: dict[str, str] = field(factory=dict)
    fork_servers: tuple[ForkServerReport, ...] = ()
    models: tuple[CachedModel, ...] = ()
    slots: int | None = None
    memory_budget: int = 0

    @property
    def usable_gpus(self) -> int:
        """How many GPUs engines can get, now or when other engines have ended: all that are not stuck."""
        return sum(not gpu.stuck for gpu in self.gpus)


@frozen
class Gpu:
    """One GPU: its UUID, its name, and its memory in bytes.

    Attributes:
        stuck: Whether an engine that cannot be killed holds it; it is usable again when that is gone.
    """

    uuid: str
    name: str = ""
    memory_total: int = 0
    memory_free: int = 0
    stuck: bool = False
