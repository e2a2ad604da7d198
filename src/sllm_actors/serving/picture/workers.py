"""What the plan of one deployment asks of the workers."""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen

from .deployment import Revision
from .fleet import Fleet
from .replica import Replica


@frozen
class WorkersFor:
    """The workers, as ``rollout.plan`` looks at them for one deployment at one time.

    Attributes:
        fleet: All nodes.
        uid: The deployment.
        now: Seconds on the head's clock.
    """

    fleet: Fleet
    uid: str
    now: float

    def drains(self, node: str) -> bool:
        """Return whether a worker is being drained."""
        return self.fleet.nodes[node].draining

    def makes_room(self, revision: Revision, replicas: Collection[Replica]) -> bool:
        """Return whether a replica of a revision could have the place of others, all on one worker."""
        node = self.fleet.nodes[next(iter(replicas)).node]
        if not node.takes_replicas or node.rejects((self.uid, revision.number), self.now):
            return False
        freed = node.spare_gpus + sum(replica.gpus for replica in replicas)
        return freed >= revision.spec.gpus_on(node.gpus)
