"""What the head follows: the replicas that each worker reports, and what the clients of each gateway want."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from sllm_actors.actors import ActorRef
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport

from .differences.follower import Changes, Follower, Published
from .differences.messages import Beat
from .differences.subscription import Subscription
from .messages import Demand
from .picture.events import DemandReported, ReplicasReported
from .streams import DEMAND, REPLICAS

log = structlog.get_logger("sllm_actors.controller")

MOST_REPLICAS = 4096
"""The most replicas that one worker may report."""

MOST_DEMANDS = 65_536
"""The most deployments that one gateway may report demand for."""


class WorkerReports:
    """Follows the stream ``REPLICAS`` of each worker. All methods are for the turns of the head's actor.

    Args:
        node: The head's node id.
        worker: Returns the ref of a worker's actor.
    """

    def __init__(self, node: str, worker: Callable[[str], ActorRef]) -> None:
        self._node = node
        self._worker = worker
        self._all: dict[str, Subscription[ReplicaKey, ReplicaReport]] = {}

    def begin(self, worker: str) -> ReplicasReported | None:
        """Ask a worker for all its replicas: its link has come up. Return what is new by that."""
        known = self._all.get(worker)
        if known is None:
            follower = Follower(REPLICAS, self._node, most_keys=MOST_REPLICAS)
            known = self._all[worker] = Subscription(follower, self._worker(worker))
        return _news(worker, known.begin())

    def take(self, worker: str, message: Published[ReplicaKey, ReplicaReport]) -> ReplicasReported | None:
        """Take what a worker sent, and return what is new by that; nothing of one that is not followed."""
        known = self._all.get(worker)
        return None if known is None else _news(worker, known.take(message))

    def __len__(self) -> int:
        """Return how many workers are followed."""
        return len(self._all)

    def forget(self, worker: str) -> None:
        """Follow a worker no longer, that is gone for good."""
        self._all.pop(worker, None)


class DemandReports:
    """Follows the stream ``DEMAND`` of each gateway. All methods are for the turns of the head's actor.

    Args:
        node: The head's node id.
        gateway: Returns the ref of a gateway's actor.
    """

    def __init__(self, node: str, gateway: Callable[[str], ActorRef]) -> None:
        self._node = node
        self._gateway = gateway
        self._all: dict[str, Subscription[str, Demand]] = {}

    def begin(self, gateway: str, known: Iterable[str]) -> DemandReported:
        """Ask a gateway for all its demand: its link has come up.

        Args:
            gateway: Its node id.
            known: The deployments that it has said something of before.
        """
        follower = Follower(DEMAND, self._node, most_keys=MOST_DEMANDS, known=known)
        self._all[gateway] = Subscription(follower, self._gateway(gateway))
        return _demand_news(gateway, self._all[gateway].begin())

    def take(self, gateway: str, message: Published[str, Demand]) -> DemandReported | None:
        """Take what a gateway sent, and return what is new by that; nothing of one that is not followed."""
        followed = self._all.get(gateway)
        if followed is None or (isinstance(message, Beat) and message.stream != DEMAND.name):
            return None
        return _demand_news(gateway, followed.take(message))

    def forget(self, gateway: str) -> None:
        """Follow a gateway no longer: its link is lost."""
        self._all.pop(gateway, None)


def _news(worker: str, changes: Changes[ReplicaKey, ReplicaReport]) -> ReplicasReported | None:
    if changes.refused:
        log.warning("worker.report_refused", node=worker, reason=changes.refused)
    if changes.put or changes.removed or changes.whole:
        return ReplicasReported(worker, changes.put, changes.removed, changes.whole)
    return None


def _demand_news(gateway: str, changes: Changes[str, Demand]) -> DemandReported:
    if changes.refused:
        log.warning("gateway.report_refused", node=gateway, reason=changes.refused)
    return DemandReported(gateway, changes.put, changes.removed)
