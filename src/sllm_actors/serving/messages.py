"""The messages between head, workers and gateways.

Orders, reports, routes and addresses go as streams of differences: see ``streams``. The rest is here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

from attrs import field, frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import ForkServerReport, ReplicaOrder
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.deployment.problem import Mistake

from .differences.messages import CATALOG as DIFFERENCES

CATALOG = Catalog(DIFFERENCES)

# Names under which the actors of a node can be reached from other nodes.
CONTROLLER = "controller"  # on the head
WORKER = "worker"  # on each worker
GATEWAY = "gateway"  # on each gateway


# ---- head -> worker


@frozen
class Order:
    """What a worker is to do about one replica. A replica of which there is no order stays as it is.

    Attributes:
        key: The replica.
        run: What it is to be, or None if it is to stop.
        stop: Why it is to drain and stop; "" if it is to run.
        if_idle: Whether it is to stop only if its requests end within ``IDLE_PATIENCE``. If they do not, it
            goes on, and its report says that it has declined.
        sleep: The level at which it is to be ASLEEP, *if idle* too; None if it is to be READY. One that is
            not there, or whose engine has ended, is not started for that.
        turn: Rises with each order to sleep, to wake, to stop if idle, or to go on all the same: so one that
            is given again is another order, though it says the same. One that is only repeated is not.
        patience: Seconds that its requests get to end before it is stopped; None: the drain timeout of its
            deployment.
    """

    key: ReplicaKey
    run: ReplicaOrder | None = None
    stop: str = ""
    if_idle: bool = False
    sleep: int | None = None
    turn: int = 0
    patience: float | None = None


# ---- worker -> head


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


@CATALOG.message("serving.read_document", senders={"head"})
@frozen
class ReadDocument:
    """From the head to a worker: from which document do you run this? Answered with ``ReplicaDocument``."""

    key: ReplicaKey


@CATALOG.message("serving.replica_document", senders=())
@frozen
class ReplicaDocument:
    """The document of a replica's deployment, JSON text; "" if the worker does not run that replica."""

    document: str


# ---- gateway -> worker


@CATALOG.message("serving.withdrawn", senders={"gateway"}, names_sender="gateway")
@frozen
class Withdrawn:
    """A gateway sends a replica no more requests, and has none in flight there.

    Each gateway that is linked to the worker has to send it before the replica ends or sleeps.

    Attributes:
        gateway: The gateway's node id.
        id: The engine life.
        withdrawal: The one of the ``ReplicaReport``: a message about an earlier withdrawal does not count.
    """

    gateway: str
    id: ReplicaId
    withdrawal: int = 0


@CATALOG.message("serving.sleep_instance", senders={"gateway"})
@frozen
class SleepInstance:
    """Put a replica to sleep when its requests have ended; answered with ``ControlAnswer`` before that."""

    key: ReplicaKey
    level: int = 1


@CATALOG.message("serving.wake_instance", senders={"gateway"})
@frozen
class WakeInstance:
    """Wake a replica, for a person or for requests that wait; answered with ``ControlAnswer`` at once."""

    key: ReplicaKey


# ---- gateway -> head, and head -> gateways: which requests engines died of

MOST_DIGESTS: Final = 256
"""Digests of requests that one gateway tells of one death at most."""

DIGEST_BYTES: Final = 16


@frozen(order=True)
class DeathKey:
    """An engine life that ended by itself, as one gateway saw it: each has its own requests there."""

    id: ReplicaId
    gateway: str


@frozen
class EngineDeath:
    """Which requests of one gateway were under way at an engine that ended by itself.

    Attributes:
        key: The engine life, and the gateway.
        digests: What tells these requests from others: hashes of ``DIGEST_BYTES`` bytes.
        complete: Whether these are all requests that the gateway had there.
    """

    key: DeathKey
    digests: tuple[bytes, ...] = ()
    complete: bool = True


@CATALOG.message("serving.report_death", senders={"gateway"}, names_sender="gateway")
@frozen
class ReportDeath:
    """From a gateway to the head: tell the other gateways of this death. The fields are ``EngineDeath``'s.

    It is told again when more requests turn out to have been under way there, and to each head anew.
    """

    gateway: str
    id: ReplicaId
    digests: tuple[bytes, ...] = ()
    complete: bool = True


# ---- gateway -> head: see the streams


@frozen
class Demand:
    """What a gateway's clients want of one deployment; while they want nothing, there is no entry.

    Where requests began and ended since the last report, there is an entry, too: its ``uses`` have risen. It
    is removed with the next report, or the next beat.

    Attributes:
        deployment: Its id.
        held: How many requests wait for a replica.
        in_flight: How many are under way: from when a replica was chosen until the last byte.
        ready: How many ready replicas the gateway reaches.
        uses: How many requests have begun since there is this entry; one that goes to another replica counts
            again.
        keep_alive: How many seconds the replicas are to stay once they are idle, negative for always, as the
            last of those requests wished that said anything of it; None if none did.
    """

    deployment: str
    held: int = 0
    in_flight: int = 0
    ready: int = 0
    uses: int = 0
    keep_alive: float | None = None


# ---- head -> gateways: see the streams


@frozen
class WorkerAddress:
    """The address at which gateways connect to a worker."""

    node: str
    host: str
    port: int


@frozen
class ServedModel:
    """What a gateway needs to know of one deployment in order to route to it.

    Attributes:
        id: ``<model>:<backend>``; requests may name it as their ``model``, too.
        model: The name that clients use.
        backend: The backend's name.
        revision: The deployment's revision; replicas of an older one serve too, until they are gone.
        policy: The name of the policy by which a replica is chosen; one that is not known means ``p2c``.
        hold_limit: The most requests that may wait for a replica at one gateway.
        hold_timeout: Seconds that a request may wait for a replica.
        queue_timeout: Seconds that a request may wait while replicas are ready and all are full; None:
            ``hold_timeout``.
        max_concurrency: The most requests that one replica has at a time, of all gateways together; None:
            what its worker reports.
        aliases: Further names that clients may call the model by.
        gateways: How many gateways have requests for the deployment: each takes its share of a replica.
        created: Seconds since the epoch, for ``/v1/models``.
        no_place: Why no replica was placed on a worker in time; "" while one has been, or still may be.
        uid: The identity of the deployment.
        revisions: Revisions whose replicas may get requests.
        idle: Whether none of its replicas is to run until somebody asks for it.
        starts_in: Seconds that a start of a replica is expected to take, by what was measured; 0.0: unknown.
        wakes_in: The same of a replica that sleeps.
    """

    id: str
    model: str
    backend: str
    revision: int
    policy: str = "p2c"
    hold_limit: int = 1024
    hold_timeout: float = 300.0
    created: float = 0.0
    no_place: str = ""
    uid: str = ""
    revisions: tuple[int, ...] = ()
    queue_timeout: float | None = None
    max_concurrency: int | None = None
    aliases: tuple[str, ...] = ()
    gateways: int = 1
    idle: bool = False
    starts_in: float = 0.0
    wakes_in: float = 0.0


# ---- gateway -> head: control requests. Each is answered with ``ControlAnswer``: ``Done`` or ``Refusal``.


@CATALOG.message("serving.deploy", senders={"gateway"})
@frozen
class Deploy:
    """Deploy a document.

    Attributes:
        document: JSON text as ``read_document`` takes it.
        update: Whether a deployment that exists with other settings is updated to these; else it is refused
            with ``CONFLICT``.
        allow_downtime: As for ``UpdateDeployment``.
    """

    document: str
    update: bool = False
    allow_downtime: bool = False


@CATALOG.message("serving.update", senders={"gateway"})
@frozen
class UpdateDeployment:
    """Change some settings of a deployment.

    Attributes:
        deployment: The deployment's id.
        patch: JSON text as ``read_patch`` takes it: a merge patch (RFC 7396) for the deployment's document.
        allow_downtime: Whether a replica of the old revision may be stopped before one of the new revision is
            ready, where there is no room for both.
    """

    deployment: str
    patch: str
    allow_downtime: bool = False


@CATALOG.message("serving.pause_rollout", senders={"gateway"})
@frozen
class PauseRollout:
    """Let a deployment's rollout start and stop no further replicas, until it is resumed."""

    deployment: str


@CATALOG.message("serving.resume_rollout", senders={"gateway"})
@frozen
class ResumeRollout:
    """Go on with a rollout that was paused; ``allow_downtime`` as for ``UpdateDeployment``."""

    deployment: str
    allow_downtime: bool = False


@CATALOG.message("serving.drain_node", senders={"gateway"})
@frozen
class DrainNode:
    """Place no further replicas on a worker, and move those that it has to other workers.

    It may be asked again and again: the answer says how many replicas are left there. See ``find_node`` for
    which node is meant.
    """

    node: str


@CATALOG.message("serving.undrain_node", senders={"gateway"})
@frozen
class UndrainNode:
    """Let replicas be placed on a worker again. See ``find_node`` for which node is meant."""

    node: str


@CATALOG.message("serving.delete", senders={"gateway"})
@frozen
class DeleteDeployment:
    """Delete the deployment with this id. It is answered at once; replicas then drain and stop."""

    deployment: str


@CATALOG.message("serving.done", senders=())
@frozen
class Done:
    """A request was carried out, or will be.

    Attributes:
        document: The answer for the client: JSON text, to be passed on unchanged.
        pending: Whether it has only begun, and ends by itself.
        next: Of a list, the cursor of the page that follows; "" if none does.
    """

    document: str
    pending: bool = False
    next: str = ""


class RefusalKind(StrEnum):
    """Why a request is refused.

    ``INVALID`` and ``TOO_LARGE``: it can never succeed; ``UNKNOWN``: what it names does not exist;
    ``CONFLICT``: something that exists is in its way; ``UNAVAILABLE``: it may succeed later.
    """

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


@CATALOG.message("serving.refusal", senders=())
@frozen
class Refusal:
    """A request was not carried out.

    Attributes:
        kind: Why, for the HTTP status.
        code: Why, for programs: one word.
        message: One sentence for a person, with the remedy.
        param: The field of the request that is wrong, or None.
        retry_after: Seconds after which to ask again, or None.
        mistakes: What is wrong with a document, each with its field; ``message`` tells all of it.
    """

    kind: RefusalKind
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    mistakes: tuple[Mistake, ...] = ()


ControlAnswer: TypeAlias = Done | Refusal
