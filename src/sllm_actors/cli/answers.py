"""What the gateway says about deployments, instances and nodes: only the fields that the commands show.

Unknown fields are ignored and missing ones have defaults, so that a newer or older gateway can be asked.
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
        state: pending, starting, ready, asleep, draining, failed or crash_loop.
        node_name: What people call its worker.
        failures: How often it failed in a row.
        endpoint: The address of a server that someone else runs.
        since: When this state began, seconds since the epoch.
    """

    id: str
    node: str | None = None
    node_name: str | None = None
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
        """The name of its worker, or else its id."""
        return self.node_name or self.node


@frozen
class DeploymentDocument:
    """A deployment and how it is.

    Attributes:
        state: pending, starting, ready, asleep, failed, crash_loop or deleting.
        detail: The state in a sentence.
        created: When it was deployed, seconds since the epoch.
        spec: Its settings as the gateway understood them; only where one deployment was asked for.
    """

    id: str
    model: str = ""
    backend: str = ""
    revision: int = 0
    state: str = "pending"
    detail: str | None = None
    ready_replicas: int = 0
    desired_replicas: int = 0
    created: float = 0.0
    spec: dict[str, Any] = field(factory=dict)
    instances: list[InstanceDocument] = field(factory=list)


@frozen
class ForkServerDocument:
    """A process that a backend's engines are forked from. Memory is in bytes.

    Attributes:
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
        size: Of all its files, in bytes.
        last_used: Seconds since the epoch; 0 for never.
    """

    source: str
    size: int = 0
    last_used: float = 0.0


@frozen
class NodeDocument:
    """One process of the cluster. Memory is in bytes.

    Attributes:
        gpus_stuck: GPUs that an engine has which cannot be killed.
        since: When it came up or was lost, seconds since the epoch.
    """

    id: str
    name: str | None = None
    role: str = ""
    host: str | None = None
    state: str = ""
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


@frozen
class HeadDocument:
    """Whether the gateway can reach the head."""

    state: str = "up"


@frozen
class StatusDocument:
    """Everything that ``GET /status`` tells."""

    deployments: list[DeploymentDocument] = field(factory=list)
    nodes: list[NodeDocument] = field(factory=list)
    head: HeadDocument = HeadDocument()


@frozen
class Deployed:
    """The answer to a deployment."""

    deployment_id: str
    revision: int = 0
    created: bool = True
    message: str | None = None
    warnings: list[str] = field(factory=list)


@frozen
class LogDocument:
    """A piece of an instance's log.

    Attributes:
        offset: Where the piece begins, in bytes.
        next_offset: Where the next one does.
        ended: The instance is over, and nothing comes after this piece.
    """

    text: str = ""
    offset: int = 0
    next_offset: int = 0
    ended: bool = False


def read(kind: type[T], answer: Any) -> T:
    """Structure the JSON of an answer.

    Raises:
        CommandFailure: It does not have the shape of ``kind``.
    """
    try:
        return cattrs.structure(answer, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError, AttributeError):
        raise CommandFailure(
            f"the gateway's answer is not a {kind.__name__}: is it an sllm gateway, and of this version?"
        ) from None
