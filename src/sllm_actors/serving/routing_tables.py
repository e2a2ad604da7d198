"""Making the routing tables for gateways: which deployments and workers exist. Their epochs rise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sllm_actors.serving.decisions.reconcile import Deployment
from sllm_actors.serving.decisions.waiting import why_overdue

from .messages import RoutingTable, ServedModel, WorkerAddress


class RoutingTables:
    """Makes a new table whenever deployments or addresses have changed.

    Args:
        epoch: The counter of the head's life (of its incarnation).
        numbers: Yields numbers for the tables, which rise also over restarts of the controller.

    Attributes:
        current: The last table that was made, or None.
    """

    def __init__(self, epoch: int, numbers: Iterator[int]) -> None:
        self._epoch = epoch
        self._numbers = numbers
        self.current: RoutingTable | None = None

    def update(
        self, deployments: Mapping[str, Deployment], addresses: tuple[WorkerAddress, ...]
    ) -> RoutingTable | None:
        """Return a new table, or None if the current one is still right."""
        models = tuple(_served(name, each) for name, each in sorted(deployments.items()) if not each.deleting)
        known = self.current
        if known is not None and (models, addresses) == (known.models, known.workers):
            return None
        self.current = RoutingTable((self._epoch, next(self._numbers)), models, addresses)
        return self.current


def _served(name: str, deployment: Deployment) -> ServedModel:
    spec = deployment.spec
    return ServedModel(
        id=name,
        model=spec.model,
        backend=spec.backend,
        revision=deployment.revision,
        hold_limit=spec.hold_limit,
        hold_timeout=spec.hold_timeout,
        created=deployment.created,
        no_place=why_overdue(deployment),
    )
