"""What head, workers and gateways say to each other. The control plane is level-triggered: each of these
messages carries a whole state, so losing one, or getting it twice, costs nothing but time."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from attrs import field, frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ForkServerReport, ReplicaOrder, ReplicaReport
from sllm_actors.models.eviction import CachedModel

CATALOG = Catalog()

# Names under which the actors of a node can be reached from other nodes.
CONTROLLER = "controller"  # on the head
WORKER = "worker"  # on each worker
GATEWAY = "gateway"  # on each gateway


# ---- head -> worker


@CATALOG.message("serving.desired_replicas")
@frozen
class DesiredReplicas:
    """All that this worker should run; whatever else it runs is to be drained and stopped."""

    orders: tuple[ReplicaOrder, ...] = ()


# ---- worker -> head, worker -> gateways


@CATALOG.message("serving.worker_report")
@frozen
class WorkerReport:
    """All that a worker is and runs: sent when a link comes up, at each change, and now and then.

    Attributes:
        sequence: Rising in one life of the worker; an older report never replaces a newer one.
    """

    node: str
    sequence: int
    inventory: Inventory
    replicas: tuple[ReplicaReport, ...] = ()


@frozen
class Inventory:
    """What a machine has. Memory in bytes.

    Attributes:
        name: What people call it.
        host: The address that it wants to be reached at, or "" for the one that its link comes from.
        port: The port on which its transport listens.
        labels: What placement can ask for.
        fork_servers: The fork servers of its engines.
        models: What is on its disk, whole or in part; at most the 256 that were used last.
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

    @property
    def usable_gpus(self) -> int:
        """How many GPUs engines can get, now or when others have left."""
        return sum(not gpu.stuck for gpu in self.gpus)


@frozen
class Gpu:
    """One GPU: its UUID, its name, and its memory in bytes.

    Attributes:
        stuck: An engine that cannot be killed has it; it comes back when that is gone.
    """

    uuid: str
    name: str = ""
    memory_total: int = 0
    memory_free: int = 0
    stuck: bool = False


@CATALOG.message("serving.replica_states")
@frozen
class ReplicaStates:
    """From a worker to a gateway that is linked to it: the state of all its replicas, in full."""

    node: str
    sequence: int
    replicas: tuple[ReplicaReport, ...] = ()


# ---- gateway -> worker


@CATALOG.message("serving.withdrawn")
@frozen
class Withdrawn:
    """A gateway sends that replica nothing any more and has nothing in flight there.

    Attributes:
        gateway: The gateway's node id: each gateway that is linked to the worker has to say so.
        withdrawal: As the replica reported it: a word about an earlier one does not count.
    """

    gateway: str
    id: ReplicaId
    withdrawal: int = 0


@CATALOG.message("serving.sleep_instance")
@frozen
class SleepInstance:
    """Put a replica to sleep when its requests have ended; answered with ``ControlAnswer`` before that."""

    key: ReplicaKey
    level: int = 1


@CATALOG.message("serving.wake_instance")
@frozen
class WakeInstance:
    """Wake a replica, for a person or for requests that wait; answered with ``ControlAnswer`` at once."""

    key: ReplicaKey


# ---- head -> gateways


@frozen
class WorkerAddress:
    """Where a gateway dials a worker."""

    node: str
    host: str
    port: int


@frozen
class ServedModel:
    """What a gateway needs to know of one deployment in order to route to it.

    Attributes:
        id: ``<model>:<backend>``; as good as the name in a request's ``model``.
        model: The name that clients use.
        revision: Replicas of another revision serve too, until they are gone.
        policy: How to choose a replica (``power_of_two``).
        hold_limit: Requests that may wait for a replica at one gateway.
        hold_timeout: Seconds that a request may wait.
        created: Seconds since the epoch, for ``/v1/models``.
        no_place: Why none of its replicas found a place in time; "" while one has it or still may get it.
    """

    id: str
    model: str
    backend: str
    revision: int
    policy: str = "power_of_two"
    hold_limit: int = 1024
    hold_timeout: float = 300.0
    created: float = 0.0
    no_place: str = ""


@CATALOG.message("serving.routing_table")
@frozen
class RoutingTable:
    """Which deployments and workers exist. A gateway keeps the last one on disk and begins with it.

    Attributes:
        epoch: The head's life and a rising number: an older table never replaces a newer one.
    """

    epoch: tuple[int, int]
    models: tuple[ServedModel, ...] = ()
    workers: tuple[WorkerAddress, ...] = ()


# ---- gateway -> head: control. Each is answered with ``Done`` or ``Refusal``.


@CATALOG.message("serving.deploy")
@frozen
class Deploy:
    """Deploy this document (JSON text of the deployment schema); answered with ``ControlAnswer``."""

    document: str


@CATALOG.message("serving.delete")
@frozen
class DeleteDeployment:
    """Delete a deployment: withdraw, drain, stop, forget; answered with ``ControlAnswer`` at once."""

    deployment: str


@CATALOG.message("serving.describe")
@frozen
class Describe:
    """Describe one deployment, or with "" all deployments and nodes; answered with ``ControlAnswer``."""

    deployment: str = ""


@CATALOG.message("serving.done")
@frozen
class Done:
    """What was asked for is so, or will be.

    Attributes:
        document: JSON text, to be passed on as it is.
        pending: It has begun, and ends by itself.
    """

    document: str
    pending: bool = False


class RefusalKind(StrEnum):
    """Why a request is refused: ``INVALID`` for ever, ``UNAVAILABLE`` for now, the others as things are."""

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


@CATALOG.message("serving.refusal")
@frozen
class Refusal:
    """What was asked for is not done.

    Attributes:
        code: What programs look at: one word.
        message: One sentence for a person, with the remedy.
        param: The field of the request that is wrong, or None.
        retry_after: Seconds after which to ask again, or None.
    """

    kind: RefusalKind
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None


ControlAnswer: TypeAlias = Done | Refusal


# ---- inside the head


@frozen
class DescribeWorkers:
    """Describe the workers as the cluster's own HTTP lists them; answered with ``Done``."""


@frozen
class DescribeInstances:
    """Describe the replicas as the cluster's own HTTP lists them; answered with ``Done``."""
