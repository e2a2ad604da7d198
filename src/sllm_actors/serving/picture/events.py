"""What can happen to the picture. Each event is one plain record."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sllm_actors.actors import Incarnation
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.messages import Demand, Inventory, UnreachedWorker
from sllm_actors.serving.store.records import DeploymentRecord, RevisionRecord


@frozen
class NodeUp:
    """A link with a node came up."""

    node: str
    role: str
    host: str
    incarnation: Incarnation


@frozen
class NodeLost:
    """The link with this life of a node was lost.

    Attributes:
        node: Its id.
        incarnation: Which life.
        reason: Why, as a sentence for a person.
        left: Whether the node itself has said so.
    """

    node: str
    incarnation: Incarnation
    reason: str
    left: bool = False


@frozen
class GatewayCalled:
    """A gateway said what people call it, and at which address they find it; "" where its link comes from."""

    node: str
    name: str
    host: str = ""


@frozen
class RefusalsCounted:
    """A node has refused so many connections and requests since it started, by why; "" is the head itself."""

    node: str
    counts: dict[str, int]


@frozen
class GatewayCutOff:
    """A gateway said which workers it does not reach: these, and no others."""

    node: str
    workers: tuple[UnreachedWorker, ...]


@frozen
class InventoryReported:
    """A worker said what it has; ``changes`` rises when it may accept now what it refused before."""

    node: str
    inventory: Inventory
    changes: int = 0


@frozen
class ReplicasReported:
    """A worker said what has become of replicas.

    Attributes:
        node: Its node id.
        put: New reports.
        removed: Replicas of which it has nothing any more.
        whole: Whether the picture now knows all replicas of the worker.
    """

    node: str
    put: tuple[ReplicaReport, ...] = ()
    removed: tuple[ReplicaKey, ...] = ()
    whole: bool = False


@frozen
class DemandReported:
    """A gateway said what its clients want of deployments; that it said something is news, too.

    Attributes:
        gateway: Its node id.
        put: Of these deployments, that much.
        removed: The ids of those of which they want nothing any more.
    """

    gateway: str
    put: tuple[Demand, ...] = ()
    removed: tuple[str, ...] = ()


@frozen
class DeploymentAdded:
    """A person has deployed something, and it is in the store."""

    record: DeploymentRecord
    revision: RevisionRecord


@frozen
class RevisionAdded:
    """A person has changed the engine's part of a deployment, and the new revision is in the store."""

    uid: str
    revision: RevisionRecord
    generation: int
    allow_downtime: bool = False


@frozen
class PolicyChanged:
    """A person has changed what restarts nothing, and it is in the store.

    Attributes:
        uid: The deployment.
        revisions: All its revisions, with documents that hold the new policy.
        generation: The new one.
    """

    uid: str
    revisions: tuple[RevisionRecord, ...]
    generation: int


@frozen
class DeletionAsked:
    """A person has deleted a deployment, and that is in the store."""

    uid: str


@frozen
class RolloutPaused:
    """A person has paused a rollout, and that is in the store."""

    uid: str
    reason: str


@frozen
class RolloutResumed:
    """A person has resumed a rollout, and that is in the store."""

    uid: str
    allow_downtime: bool = False


@frozen
class DrainSet:
    """A person wants a worker drained, or no longer, and that is in the store."""

    node: str
    draining: bool


@frozen
class NodeRemoved:
    """A person has removed a node, and it is not in the store any more."""

    node: str


@frozen
class LoadAsked:
    """A person wants a replica ready, though no request waits for it."""

    uid: str


@frozen
class UnloadAsked:
    """A person wants no replica until the next request; with ``force`` also of one that has requests."""

    uid: str
    force: bool = False


@frozen
class TierAsked:
    """A person wants the replicas asleep at this level, if they are idle; or all awake, if that is None."""

    uid: str
    level: int | None


@frozen
class NumbersReserved:
    """Replica numbers below ``below`` are reserved in the store."""

    uid: str
    below: int


@frozen
class DocumentRead:
    """A worker has said from which document it runs a replica; "" where it could not."""

    uid: str
    revision: int
    document: str


@frozen
class TimePassed:
    """Something may be due."""


Event: TypeAlias = (
    NodeUp
    | NodeLost
    | GatewayCalled
    | GatewayCutOff
    | RefusalsCounted
    | InventoryReported
    | ReplicasReported
    | DemandReported
    | DeploymentAdded
    | RevisionAdded
    | PolicyChanged
    | DeletionAsked
    | RolloutPaused
    | RolloutResumed
    | DrainSet
    | NodeRemoved
    | LoadAsked
    | UnloadAsked
    | TierAsked
    | NumbersReserved
    | DocumentRead
    | TimePassed
)
