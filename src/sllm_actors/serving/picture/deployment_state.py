"""How a deployment is, in one word, and how many are so."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from sllm_actors.engines.messages import ReplicaState

from .deployment import Deployment
from .replica import KnownReplica, is_crash_loop


class DeploymentState(StrEnum):
    """How a deployment is: its best replica speaks for it.

    ``IDLE``: none is wanted before the next request; ``FAILED``: it ended, or found no place in time, and is
    tried again; ``CRASH_LOOP``: it failed three times in a row or more; ``DELETING``: its replicas are
    ending.
    """

    READY = "ready"
    ASLEEP = "asleep"
    STARTING = "starting"
    PENDING = "pending"
    IDLE = "idle"
    FAILED = "failed"
    CRASH_LOOP = "crash_loop"
    DELETING = "deleting"


# By the state of the replica that speaks for the deployment; the first that there is speaks.
_SPEAKERS = {
    ReplicaState.READY: DeploymentState.READY,
    ReplicaState.ASLEEP: DeploymentState.ASLEEP,
    ReplicaState.STARTING: DeploymentState.STARTING,
    ReplicaState.FAILED: DeploymentState.FAILED,
    ReplicaState.PENDING: DeploymentState.PENDING,
}
_SERVING = (DeploymentState.READY, DeploymentState.ASLEEP)


def spoken_for(deployment: Deployment) -> tuple[DeploymentState, KnownReplica | None]:
    """Return the state of a deployment, and the replica that it is due to, if it is one."""
    if deployment.deleting:
        return DeploymentState.DELETING, None
    best: dict[ReplicaState, KnownReplica] = {}
    worst: KnownReplica | None = None
    for replica in deployment.replicas.values():
        if replica.replaced:
            continue
        if replica.state is ReplicaState.READY:
            return DeploymentState.READY, replica
        best.setdefault(replica.state, replica)
        report = replica.report
        if (
            report is not None
            and is_crash_loop(report)
            and (worst is None or worst.failures < report.failures)
        ):
            worst = replica
    for replica_state, state in _SPEAKERS.items():
        if state not in _SERVING and not deployment.wanted:
            return DeploymentState.IDLE, None
        if worst is not None and state not in _SERVING:
            return DeploymentState.CRASH_LOOP, worst
        if replica_state in best:
            return state, best[replica_state]
    overdue = deployment.wait is not None and deployment.wait.overdue
    return (DeploymentState.FAILED if overdue else DeploymentState.PENDING), None


class StateCounts:
    """How many deployments are in which state. Counting one anew costs what it has of replicas."""

    def __init__(self) -> None:
        self._states: dict[str, DeploymentState] = {}
        self._counts: Counter[DeploymentState] = Counter()

    def put(self, deployment: Deployment) -> None:
        """Count a deployment, which may be new or changed."""
        state, _ = spoken_for(deployment)
        known = self._states.get(deployment.uid)
        if known is not state:
            self.forget(deployment.uid)
            self._states[deployment.uid] = state
            self._counts[state] += 1

    def forget(self, uid: str) -> None:
        """Count a deployment no longer, if it is counted."""
        known = self._states.pop(uid, None)
        if known is not None:
            self._counts[known] -= 1

    def state(self, uid: str) -> DeploymentState | None:
        """Return the state in which a deployment is counted; None if it is not."""
        return self._states.get(uid)

    def by_state(self) -> dict[DeploymentState, int]:
        """Return how many there are, of each state."""
        return {state: self._counts[state] for state in DeploymentState}
