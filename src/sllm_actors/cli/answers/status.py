"""Lists of what the cluster has, and how much of it there is."""

from __future__ import annotations

from attrs import field, frozen

from .deployments import DeploymentDocument
from .nodes import NodeDocument


@frozen
class ListDocument:
    """A page of any list: ``next`` is where the one that follows begins, None for nowhere."""

    next: str | None = None


@frozen
class GpuTotals:
    """How many GPUs the workers that are up have together, and how many of these are free."""

    total: int = 0
    free: int = 0


@frozen
class TotalsDocument:
    """What the whole cluster has, counted; ``deployment_states`` and ``nodes`` are by state."""

    deployments: int = 0
    deployment_states: dict[str, int] = field(factory=dict)
    replicas: int = 0
    nodes: dict[str, int] = field(factory=dict)
    gpus: GpuTotals = GpuTotals()


@frozen
class HeadDocument:
    """The head, in lists of nodes: ``refused`` is that of ``NodeDocument``."""

    refused: dict[str, int] = field(factory=dict)


@frozen
class StatusDocument:
    """The answer to ``GET /status``; those to ``GET /deployments`` and ``GET /nodes`` have one list each."""

    deployments: list[DeploymentDocument] = field(factory=list)
    nodes: list[NodeDocument] = field(factory=list)
    head: HeadDocument = HeadDocument()
    totals: TotalsDocument | None = None
    next: str | None = None
