"""The processes of the cluster."""

from __future__ import annotations

from attrs import field, frozen


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
