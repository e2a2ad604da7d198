"""Deployments and their instances."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from .events import EventDocument


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
