"""What the head follows: the replicas that each worker reports."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from sllm_actors.actors import ActorRef
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport

from .differences.follower import Changes, Follower, Published
from .differences.subscription import Subscription
from .picture.events import ReplicasReported
from .streams import REPLICAS

log = structlog.get_logger("sllm_actors.worker")

MOST_REPLICAS = 4096
"""The most replicas that one worker may report."""


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


def _news(worker: str, changes: Changes[ReplicaKey, ReplicaReport]) -> ReplicasReported | None:
    if changes.refused:
        log.warning("worker.report_refused", node=worker, reason=changes.refused)
    if changes.put or changes.removed or changes.whole:
        return ReplicasReported(worker, changes.put, changes.removed, changes.whole)
    return None
