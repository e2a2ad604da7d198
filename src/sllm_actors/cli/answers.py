"""The gateway's answers about deployments, instances and nodes: those of their fields that commands use.

Unknown fields are ignored and missing ones have defaults, so that a newer or older gateway can be asked.
Times are in seconds since the epoch, sizes in bytes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from attrs import field, frozen

from .errors import CommandFailure

T = TypeVar("T")


@frozen
class InstanceDocument:
    """One replica of a deployment on one worker.

    Attributes:
        id: The instance's id.
        node: The node id of its worker; None while it has none.
        node_name: What people call that worker.
        state: pending, starting, ready, asleep, draining, failed or crash_loop.
        progress: How far its start is, in words; None if nothing is under way.
        reason: Why it is in this state, in a sentence.
        failures: How often it failed in a row.
        exit_status: How its engine ended last; "" if it never did.
        log_tail: The last lines of its log.
        endpoint: The address of an external server.
        pid: The process id of its engine.
        since: When this state began.
        node_state: Whether its worker is linked with the head: up, suspect or down.
    """

    id: str
    revision: int = 0
    node: str | None = None
    node_name: str | None = None
    node_state: str = "up"
    state: str = "pending"
    progress: str | None = None
    reason: str | None = None
    failures: int = 0
    exit_status: str = ""
    log_tail: list[str] = field(factory=list)
    endpoint: str | None = None
    pid: int | None = None
    since: float = 0.0

    @property
    def where(self) -> str | None:
        """The name of its worker, or else the worker's node id; None while it has no worker."""
        return self.node_name or self.node


@frozen
class RolloutDocument:
    """How far a new revision of a deployment is, beside the one that serves.

    Attributes:
        revision: The new revision.
        state: progressing, paused or rolled_back.
        reason: Why it is in this state, in a sentence.
        ready: How many replicas of the new revision are ready.
        wanted: How many there will be.
    """

    revision: int
    state: str = "progressing"
    reason: str = ""
    ready: int = 0
    wanted: int = 0


@frozen
class EventDocument:
    """An entry of the journal: what was decided, and why.

    Attributes:
        number: Its place in the journal.
        kind: What happened, as ``replica.placed``.
        subject: The id of the deployment or node, or the name of the API key, that it is about.
    """

    number: int
    at: float = 0.0
    kind: str = ""
    subject: str = ""
    sentence: str = ""


@frozen
class DeploymentDocument:
    """A deployment and its state.

    Attributes:
        id: ``<model>:<backend>``.
        revision: The revision that serves.
        generation: The number of its policy: how many replicas, limits, timeouts.
        rollout: The new revision that is being started, or was last tried; None for none.
        state: pending, starting, ready, asleep, idle, failed, crash_loop or deleting.
        detail: More about the state, in a sentence.
        expected_wait: Seconds for which requests wait for a first replica; None if unknown, or none does.
        created: When it was deployed.
        since: When this state began; 0 if that is not known.
        held_since: Since when some request waits.
        idle_since: When the last request ended; None while there is one.
        keep_alive_left: Seconds for which it keeps its replicas without a request; None if they stay.
        memory: Bytes of memory by which a replica is placed; 0 if that is not known.
        memory_by: Where that figure is from.
        gpu_memory: Bytes of each of its GPUs that a replica takes; 0 for whole ones, or none.
        gpu_memory_by: Where that figure is from.
        gpu_memory_of: What it is made of, where it is estimated.
        spec: Its settings as the head understood them; empty in a list of all deployments.
        events: What was decided about it last; empty in a list.
        instances: Its replicas.
    """

    id: str
    model: str = ""
    backend: str = ""
    revision: int = 0
    generation: int = 0
    rollout: RolloutDocument | None = None
    state: str = "pending"
    detail: str | None = None
    ready_replicas: int = 0
    asleep_replicas: int = 0
    desired_replicas: int = 0
    held: int = 0
    held_since: float | None = None
    idle_since: float | None = None
    keep_alive_left: float | None = None
    in_flight: int = 0
    gateways: int = 0
    expected_wait: float | None = None
    memory: int = 0
    memory_by: str = ""
    gpu_memory: int = 0
    gpu_memory_by: str = ""
    gpu_memory_of: str = ""
    created: float = 0.0
    since: float = 0.0
    spec: dict[str, Any] = field(factory=dict)
    instances: list[InstanceDocument] = field(factory=list)
    events: list[EventDocument] = field(factory=list)


@frozen
class ForkServerDocument:
    """A fork server of a worker: the process that a backend's engines are forked from.

    Attributes:
        memory: What it occupies.
        reason: Why it is not ready, in one sentence; empty if nothing is wrong.
    """

    backend: str
    state: str = ""
    memory: int = 0
    reason: str = ""


@frozen
class ModelDocument:
    """A model on a node's disk.

    Attributes:
        source: Where its files come from.
        size: The size of all its files.
        last_used: When it was last used; 0 for never.
    """

    source: str
    size: int = 0
    last_used: float = 0.0


@frozen
class UnreachedDocument:
    """A gateway that has no link with a worker, the address that it tried, and why."""

    gateway: str = ""
    address: str = ""
    reason: str = ""


@frozen
class NodeDocument:
    """One process of the cluster. What only workers have is None for others.

    Attributes:
        name: What people call it.
        state: up, suspect or down.
        reason: Why it is not up.
        draining: Whether its replicas are being moved away.
        gpus_stuck: How many GPUs are held by an engine that cannot be killed.
        since: When it came up or was lost.
        unreached_by: Gateways that have no link with it.
        refused: How many connections and requests it has refused since it started, by why.
    """

    id: str
    name: str | None = None
    role: str = ""
    host: str | None = None
    state: str = ""
    reason: str = ""
    draining: bool = False
    replicas: int = 0
    gpus_total: int | None = None
    gpus_free: int | None = None
    gpus_stuck: int | None = None
    cpus: float | None = None
    memory_total: int | None = None
    memory_free: int | None = None
    since: float = 0.0
    labels: dict[str, str] = field(factory=dict)
    fork_servers: list[ForkServerDocument] = field(factory=list)
    models: list[ModelDocument] = field(factory=list)
    unreached_by: list[UnreachedDocument] = field(factory=list)
    refused: dict[str, int] = field(factory=dict)


@frozen
class ListDocument:
    """A page of any list: ``next`` is where the one that follows begins, None for nowhere."""

    next: str | None = None


@frozen
class GpuTotals:
    """How many GPUs all workers that are up have, and how many of these are free."""

    total: int = 0
    free: int = 0


@frozen
class TotalsDocument:
    """How many there are of what in the whole cluster; nodes by their state."""

    deployments: int = 0
    deployment_states: dict[str, int] = field(factory=dict)
    replicas: int = 0
    nodes: dict[str, int] = field(factory=dict)
    gpus: GpuTotals = GpuTotals()


@frozen
class HeadDocument:
    """The head itself, in lists that have nodes: what it has refused, as of a node."""

    refused: dict[str, int] = field(factory=dict)


@frozen
class StatusDocument:
    """The answer to ``GET /status``; those to ``GET /deployments`` and ``GET /nodes`` have one list each."""

    deployments: list[DeploymentDocument] = field(factory=list)
    nodes: list[NodeDocument] = field(factory=list)
    head: HeadDocument = HeadDocument()
    totals: TotalsDocument | None = None
    next: str | None = None


@frozen
class Deployed:
    """The answer to ``POST /deployments`` and to ``PATCH /deployments/{id}``.

    Attributes:
        revision: The revision that it has, or will have when its rollout is over.
        created: False if it was deployed already.
        changed: The keys that differ from before; empty if it had the same settings already.
        warnings: Sentences for a person.
    """

    deployment_id: str
    revision: int = 0
    created: bool = True
    changed: list[str] = field(factory=list)
    message: str | None = None
    warnings: list[str] = field(factory=list)


@frozen
class DrainDocument:
    """The answer to ``POST /nodes/{id}/drain`` and ``/undrain``.

    Attributes:
        node: The node's id.
        name: What people call it.
        status: draining or drained; up once it is undrained.
        replicas: How many replicas are left on it; None once it is undrained.
        message: All that in a sentence.
    """

    node: str
    name: str = ""
    status: str = ""
    replicas: int | None = None
    message: str = ""


@frozen
class RemovalDocument:
    """The answer to ``DELETE /nodes/{id}``.

    Attributes:
        node: The id of the node that was removed; None where none was known.
        name: What it was called.
        removed: Whether one was known.
        message: All that in a sentence.
    """

    node: str | None = None
    name: str = ""
    removed: bool = False
    message: str = ""


@frozen
class KeyDocument:
    """An API key, as ``GET /keys`` and ``PATCH /keys/{name}`` show it.

    Attributes:
        name: What people call it.
        share: Its share beside those of other keys.
        created: When it was made.
    """

    name: str
    share: float = 1.0
    created: float = 0.0


@frozen
class MadeKeyDocument:
    """The answer to ``POST /keys``.

    Attributes:
        name: What people call the key.
        key: The key itself.
    """

    name: str
    key: str = field(repr=False)


@frozen
class KeysDocument:
    """The answer to ``GET /keys``."""

    keys: list[KeyDocument]


@frozen
class DeletedKeyDocument:
    """The answer to ``DELETE /keys/{name}``: what has happened, in a sentence."""

    message: str = ""


@frozen
class LoadingDocument:
    """The answer to ``POST /deployments/{id}/load``, ``/unload``, ``/sleep`` and ``/wake``.

    Attributes:
        deployment_id: The deployment's id.
        state: What it is, or is to be: ready, idle or asleep.
        message: What happens, in a sentence.
    """

    deployment_id: str
    state: str = ""
    message: str = ""


@frozen
class PulledDocument:
    """How far the files of a model are on one worker.

    Attributes:
        node: The worker's node id.
        name: What people call it.
        state: queued, pulling, done, failed, cancelled, absent or away.
        done: How many bytes are there.
        total: How many there will be; 0 while that is not known.
        progress: What is being done, in words.
        reason: Why it has failed, or does not answer, in a sentence.
    """

    node: str
    name: str = ""
    state: str = ""
    done: int = 0
    total: int = 0
    progress: str | None = None
    reason: str | None = None


@frozen
class PullDocument:
    """The answer to ``POST /models/pull`` and ``GET /models/pull/{id}``."""

    id: str
    backend: str = ""
    source: str = ""
    state: str = ""
    workers: list[PulledDocument] = field(factory=list)


@frozen
class LogDocument:
    """A piece of an instance's log.

    Attributes:
        offset: Where the piece begins, in bytes from the beginning of the log.
        next_offset: Where the next piece begins.
        ended: The instance is gone, and nothing comes after this piece.
    """

    text: str = ""
    offset: int = 0
    next_offset: int = 0
    ended: bool = False


@frozen
class EventsDocument:
    """A page of the journal.

    Attributes:
        events: The entries, as they came.
        last: The number up to which they are all.
        next: Where the next page begins, None for nowhere.
    """

    events: list[dict[str, Any]]
    last: int
    next: str | None = None


def read(kind: type[T], answer: Any) -> T:
    """Return the JSON value of an answer as an object of the class ``kind``.

    Raises:
        CommandFailure: The value does not have the shape of ``kind``.
    """
    try:
        return cattrs.structure(answer, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError, AttributeError):
        raise CommandFailure(
            f"the gateway's answer is not a {kind.__name__}: is it an sllm gateway, and of this version?"
        ) from None
