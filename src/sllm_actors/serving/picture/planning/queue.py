"""Which deployments are to be planned."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.serving.picture.catalogue import Catalogue
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import StateCounts
from sllm_actors.serving.picture.indices.timers import Timers


class PlanningQueue:
    """The deployments that something has happened to, each once. Until ``settle``, those of the store wait.

    Args:
        catalogue: The deployments.
        states: Learns of each one that something has happened to.

    Attributes:
        timers: When some are to be planned though nothing happens to them.
        held: Deployment ids, and nodes, about which nothing is decided now.
    """

    def __init__(self, catalogue: Catalogue, states: StateCounts) -> None:
        self._catalogue = catalogue
        self._states = states
        self._dirty: dict[str, None] = {}
        self._unsettled = dict.fromkeys(catalogue.by_uid)
        self.timers = Timers()
        self.held: set[str] = set()

    def __len__(self) -> int:
        """Return how many are to be planned."""
        return len(self._dirty)

    def mark(self, deployment: Deployment) -> None:
        """Take note that something has happened to a deployment."""
        if deployment.uid in self._unsettled:
            self.count(deployment)
        else:
            self._dirty[deployment.uid] = None  # it is counted when it is planned

    def add(self, uids: Iterable[str]) -> None:
        """Let deployments be planned again that were planned before."""
        self._dirty.update(dict.fromkeys(uids))

    @property
    def first(self) -> str:
        """The uid of the one that is to be planned next; there is one."""
        return next(iter(self._dirty))

    def pop(self) -> Deployment | None:
        """Take the first one out and return it; None if it is gone, or held."""
        uid = self.first
        del self._dirty[uid]
        deployment = self._catalogue.by_uid.get(uid)
        if deployment is not None and deployment.id in self.held:
            self.count(deployment)
            return None
        return deployment

    def settle(self) -> None:
        """Let those be planned, too, that were in the store at the start."""
        self._dirty.update(self._unsettled)
        self._unsettled.clear()

    def is_planned(self, deployment: Deployment) -> bool:
        """Return whether all that has happened to a deployment has been decided about."""
        uid = deployment.uid
        return not (uid in self._dirty or uid in self._unsettled or deployment.id in self.held)

    def count(self, deployment: Deployment) -> None:
        """Count a deployment under its present state."""
        if deployment.uid in self._catalogue.by_uid:
            self._states.put(deployment)
        else:
            self._states.forget(deployment.uid)
