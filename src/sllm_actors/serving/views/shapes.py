"""The shapes in which deployments, replicas and nodes are shown, and their JSON text.

Names of fields are those of the JSON objects. Times are in seconds since the epoch, sizes in bytes.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import cattrs
from attrs import field, frozen

from sllm_actors.engines.messages import ForkServerReport
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.picture.deployment_state import DeploymentState


class InstanceState(StrEnum):
    """How a replica is, by what its worker has said; ``PENDING`` before that."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"
    DRAINING = "draining"
    FAILED = "failed"
    CRASH_LOOP = "crash_loop"


class RolloutState(StrEnum):
    """How far a new revision is."""

    PROGRESSING = "progressing"
    PAUSED = "paused"
    ROLLED_BACK = "rolled_back"


@frozen
class RolloutView:
    """The revision that is being rolled out, or the last one if it was rolled back.

    Attributes:
        revision: Its number.
        reason: Why it is paused or was rolled back, or what it waits for; "" for nothing.
        ready: How many of its replicas serve.
        wanted: How many are to serve.
        since: When the revision was made.
    """

    revision: int
    state: RolloutState
    reason: str
    ready: int
    wanted: int
    since: float


@frozen
class InstanceView:
    """One replica on its worker.

    Attributes:
        id: ``<model>:<backend>@<revision>.<number>.<starts>``.
        node: The node id of its worker.
        node_name: What that is called.
        node_state: Whether the worker is linked with the head: what is shown of the replica may be old.
        failures: How often it failed in a row.
        progress: How far its start is, in words.
        reason: Why it is in this state, in a sentence.
        exit_status: How its engine ended last; "" if it never did.
        log_tail: The last lines of the engine's log, if it FAILED.
        address: Where its engine listens.
        endpoint: The address of an external server; None for an engine.
        since: When its state began.
        retry_in: Seconds until it is tried again, or None.
        level: The level at which it sleeps; None while it does not.
        memory: The most bytes of the machine's memory that its processes had; 0 where that is not known.
        gpu_memory: The same of the GPU on which they had most.
        gpu_share: Bytes of each of its GPUs that are kept for it; 0: whole GPUs, or none.
        waiting: How many requests waited inside its engine at most within a minute, up to 5.
        kv_used: How many per cent of the engine's room for KV caches were taken at most within a minute.
    """

    id: str
    revision: int
    node: str
    node_name: str
    node_state: str
    state: InstanceState
    failures: int
    progress: str
    reason: str
    exit_status: str
    log_tail: tuple[str, ...]
    address: str
    endpoint: str | None
    pid: int
    gpus: int
    since: float
    retry_in: float | None
    level: int | None
    memory: int
    gpu_memory: int
    gpu_share: int
    waiting: int
    kv_used: int


@frozen
class ListedInstanceView(InstanceView):
    """One replica in the list of all; ``instance_id`` is ``id`` by the name that Pylet gives it."""

    instance_id: str
    deployment: str


@frozen
class DeploymentView:
    """One deployment with its replicas.

    Attributes:
        uid: Its identity: one that is deployed again under the same id is another.
        revision: The revision that serves.
        generation: Rises with each change of its settings.
        status: ``active``, or ``deleting``.
        detail: A sentence that explains the state, or what is wrong although it serves; "" for nothing.
        rollout: None while nothing is rolled out and the last revision was not rolled back.
        held: How many requests wait for a replica, at all gateways.
        asleep_replicas: How many replicas sleep, of those that are wanted or of others.
        held_since: Since when some request waits without a break; None while none does.
        in_flight: How many requests are under way.
        idle_since: When the last request ended, or when it was deployed; None while there is one.
        keep_alive_left: Seconds for which it keeps its replicas if no request comes; None while it is in use,
            and where they stay in any case.
        memory: Bytes of a machine's memory by which a replica is placed; 0 where that is not known. A replica
            that may do without GPUs is shown as on a machine that has none.
        memory_by: Where that figure is from: ``declared``, ``measured``, or ``files``, which is the size of
            the model's files; "" where it is not known.
        gpu_memory: Bytes of each of its GPUs that the next replica takes; 0: whole GPUs, or none.
        gpu_memory_by: Where that figure is from: ``declared``, ``estimated``, or ``unknown``, which is to be
            estimated as soon as a worker has seen the model's files; "" where whole GPUs are wanted.
        gpu_memory_of: What an estimate is made of, in a few words; "" for none.
        priority: Whose place goes to whom: the higher number first.
        pinned: Whether its replicas stay though others need their place.
        gateways: How many gateways have such requests.
        expected_wait: Seconds for which requests still wait for a first replica, by what was measured of its
            starts and wakes; None while none waits for that, or nothing was measured.
        recovered: Whether the head took it back from workers that ran it, because its store did not know it.
        created: When it was deployed.
        since: When its state began.
        spec: Its settings, with secrets masked; None in lists, where it is left out.
        events: The last entries of the journal about it; as ``spec``.
    """

    id: str
    uid: str
    model: str
    backend: str
    revision: int
    generation: int
    status: str
    state: DeploymentState
    detail: str
    rollout: RolloutView | None
    ready_replicas: int
    asleep_replicas: int
    desired_replicas: int
    held: int
    held_since: float | None
    in_flight: int
    gateways: int
    idle_since: float | None
    keep_alive_left: float | None
    expected_wait: float | None
    memory: int
    memory_by: str
    gpu_memory: int
    gpu_memory_by: str
    gpu_memory_of: str
    priority: int
    pinned: bool
    recovered: bool
    created: float
    since: float
    instances: tuple[InstanceView, ...]
    spec: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None


@frozen
class UnreachedView:
    """A gateway that has no link with a worker.

    Attributes:
        gateway: What the gateway is called.
        address: The ``HOST:PORT`` that it has tried.
        reason: Why it has no link, in a sentence.
    """

    gateway: str
    address: str
    reason: str


@frozen
class NodeView:
    """One node. What only workers have is None for others.

    Attributes:
        name: What it is called; its id where it has not said that.
        host: The address at which it is reached.
        state: ``up``, ``suspect`` (its link was lost, and it counts as running) or ``down``.
        reason: Why it is not up.
        draining: Whether its replicas are being moved away.
        incarnation: Which life of it is, or was, linked last; "" if none was since the head started.
        gpus_stuck: GPUs that are held by an engine which cannot be killed.
        models: The models on its disk.
        replicas: How many it has.
        since: When its state began.
        unreached_by: Gateways that have no link with it.
        refused: How many connections and requests it has refused since it started, by why.
    """

    id: str
    name: str
    role: str
    host: str
    state: str
    reason: str
    draining: bool
    incarnation: str
    gpus_total: int | None
    gpus_free: int | None
    gpus_stuck: int | None
    cpus: int | None
    memory_total: int | None
    memory_free: int | None
    labels: dict[str, str]
    fork_servers: tuple[ForkServerReport, ...]
    models: tuple[CachedModel, ...]
    replicas: int
    since: float
    unreached_by: tuple[UnreachedView, ...] = ()
    refused: dict[str, int] = field(factory=dict)


@frozen
class ResourcesView:
    """What a worker has, or has free: in Pylet's words; memory in MiB."""

    cpu_cores: int = 0
    gpu_units: int = 0
    memory_mb: int = 0


@frozen
class WorkerView:
    """One worker with the fields of the multi-machine guide and of Pylet.

    Attributes:
        id: Its name, as the guide has it.
        gpu_units: How many GPUs it has.
        status: ``ready`` while it is linked with the head, ``suspect`` or ``offline``.
        worker_id: Its node id, as Pylet has it.
        draining: Whether its replicas are being moved away.
        last_seen: When it was linked, or lost.
    """

    id: str
    gpu_units: int
    status: str
    worker_id: str
    host: str
    draining: bool
    total_resources: ResourcesView
    available_resources: ResourcesView
    last_seen: float
    labels: dict[str, str] = field(factory=dict)


_converter = cattrs.Converter()
_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_text(view: DeploymentView | InstanceView | NodeView | WorkerView) -> str:
    """Return what is shown as the text of a JSON object."""
    document: dict[str, Any] = _converter.unstructure(view)
    if isinstance(view, DeploymentView) and view.spec is None:
        del document["spec"], document["events"]
    return _encode(document)
