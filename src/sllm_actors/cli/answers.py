"""What the gateway says about deployments, instances and nodes: only the fields that the commands show.

Unknown fields are ignored and missing ones have defaults, so that a newer or older gateway can be asked.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from attrs import field, frozen

from .errors import Failure

T = TypeVar("T")


@frozen
class Instance:
    """One replica of a deployment on one worker.

    Attributes:
        state: pending, starting, ready, asleep, draining, failed or crash_loop.
        failures: How often it failed in a row.
    """

    id: str
    node: str | None = None
    state: str = "pending"
    progress: str | None = None
    reason: str | None = None
    failures: int = 0
    exit_status: str = ""
    log_tail: list[str] = field(factory=list)
    address: str | None = None
    pid: int | None = None


@frozen
class Deployment:
    """A deployment and how it is.

    Attributes:
        state: pending, starting, ready, asleep, failed, crash_loop or deleting.
        detail: The state in a sentence.
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
    spec: dict[str, Any] = field(factory=dict)
    instances: list[Instance] = field(factory=list)


@frozen
class Warm:
    """A process that a backend's engines are forked from. Memory is in bytes.

    Attributes:
        reason: Why it is not ready, in one sentence; empty if nothing is wrong.
    """

    backend: str
    state: str = ""
    memory: int = 0
    reason: str = ""


@frozen
class CachedModel:
    """A model on a node's disk.

    Attributes:
        size: Of all its files, in bytes.
        last_used: Seconds since the epoch; 0 for never.
    """

    source: str
    size: int = 0
    last_used: float = 0.0


@frozen
class Node:
    """One process of the cluster. Memory is in bytes.

    Attributes:
        gpus_stuck: GPUs that an engine has which cannot be killed.
    """

    id: str
    name: str | None = None
    role: str = ""
    host: str | None = None
    state: str = ""
    gpus_total: int | None = None
    gpus_free: int | None = None
    gpus_stuck: int = 0
    cpus: float | None = None
    memory_total: int | None = None
    memory_free: int | None = None
    labels: dict[str, str] = field(factory=dict)
    warm: list[Warm] = field(factory=list)
    models: list[CachedModel] = field(factory=list)


@frozen
class Head:
    """Whether the gateway can reach the head."""

    state: str = "up"


@frozen
class Status:
    """Everything that ``GET /status`` tells."""

    deployments: list[Deployment] = field(factory=list)
    nodes: list[Node] = field(factory=list)
    head: Head = Head()


@frozen
class Deployed:
    """The answer to a deployment."""

    deployment_id: str
    revision: int = 0
    created: bool = True
    message: str | None = None
    warnings: list[str] = field(factory=list)


@frozen
class LogChunk:
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
        Failure: It does not have the shape of ``kind``.
    """
    try:
        return cattrs.structure(answer, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError, AttributeError):
        raise Failure(
            f"the gateway's answer is not a {kind.__name__}: is it an sllm gateway, and of this version?"
        ) from None
