"""What workers are told of replicas: orders to run, to sleep and to stop, and why, in the journal."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment, Revision, order_for
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica, Told

BUSY = 5.0
"""Seconds that a replica is left as it is which has declined to stop or sleep, since it is busy."""


class Ordering:
    """Gives orders. It decides nothing.

    Args:
        fleet: The nodes.
        effects: Gets the orders, and the journal.

    Attributes:
        effects: The same.
    """

    def __init__(self, fleet: Fleet, effects: Effects) -> None:
        self._fleet = fleet
        self.effects = effects

    def run(
        self, deployment: Deployment, revision: Revision, key: ReplicaKey, node: KnownNode, now: float
    ) -> None:
        """Order a new replica to run on a worker that has room for it."""
        need = deployment.need(revision, node.gpus)
        replica = KnownReplica(key, node.id, need, Told.RUN, now)
        deployment.replicas[key] = replica
        self._fleet.add(replica)
        self.effects.orders[node.id, key] = order_for(revision, replica)
        self.effects.note_replica(replica, "replica.placed", f"{key} goes to {node.name or node.id}")

    def reckon(self, deployment: Deployment) -> None:
        """Let the replicas of a deployment take what is known of it now; of GPUs, what they were ordered."""
        for replica in deployment.replicas.values():
            if (known := deployment.revisions.get(replica.key.revision)) is not None:
                need = deployment.need(known, replica.need.gpus)
                self._fleet.resize(replica, evolve(need, gpu_memory=replica.need.gpu_memory))

    def repeat(self, deployment: Deployment) -> None:
        """Order the same replicas anew, since what is ordered of them, or what they take, has changed."""
        self.reckon(deployment)
        for replica in deployment.replicas.values():
            if replica.ordered is Told.RUN:
                self._send(deployment, replica)

    def stop(
        self, replica: KnownReplica, reason: str, *, if_idle: bool = False, patience: float | None = None
    ) -> None:
        """Order a replica to drain and stop, unless it was ordered to already.

        Args:
            replica: One of a deployment, of another life of it, or a duplicate.
            reason: Why, as a sentence for a person.
            if_idle: Whether it is to stop only if its requests end at once. If they do not, its worker says
                so, and ``take_back`` is called. Only for replicas that their deployment counts.
            patience: Seconds that its requests get to end; None: the drain timeout of its deployment.
        """
        hastier = replica.if_idle or (replica.patience is not None and patience is None)
        if replica.ordered is Told.STOP and (if_idle or not hastier):
            return
        if if_idle:
            replica.order_if_idle(stop=reason)
        else:
            replica.ordered, replica.stop, replica.sleep, replica.if_idle = Told.STOP, reason, None, False
            replica.patience = patience
        self.effects.orders[replica.node, replica.key] = order_for(None, replica)
        self.effects.note_replica(replica, "replica.stopped", f"{replica.key}: {reason}")

    def release(self, replica: KnownReplica, reason: str) -> None:
        """Order a replica to stop if it is idle; one that had its turn, when its requests have ended."""
        if replica.is_winding_down:
            self.stop(replica, reason, patience=replica.patience)
        else:
            self.stop(replica, reason, if_idle=True)

    def rest(
        self,
        deployment: Deployment,
        replica: KnownReplica,
        level: int,
        reason: str,
        *,
        patience: float | None = None,
    ) -> None:
        """Order a replica to be asleep: if it is idle, or when its requests have ended.

        Args:
            deployment: Of which it is.
            replica: One that is not needed, or had its turn.
            level: How deep it sleeps.
            reason: Why, as a sentence for a person.
            patience: Seconds that its requests get to end, and then it is stopped; None: if it is idle.
        """
        replica.order_if_idle(sleep=level, spare=True, patience=patience)
        self._send(deployment, replica)
        self.effects.note_replica(replica, "replica.slept", f"{replica.key}, at level {level}: {reason}")

    def wake(self, deployment: Deployment, replica: KnownReplica, reason: str) -> None:
        """Order a replica to be awake, as it perhaps is already, since a gateway has asked its worker."""
        replica.order_to_run()
        self._fleet.weigh(self._fleet.nodes[replica.node])  # from now on it has its GPUs again
        self._send(deployment, replica)
        self.effects.note_replica(replica, "replica.woken", f"{replica.key}: {reason}")

    def sleeps(self, deployment: Deployment, replica: KnownReplica, level: int) -> None:
        """Let a replica sleep on that its worker has put to sleep because somebody has asked for it there."""
        replica.order_if_idle(sleep=level)
        self._fleet.weigh(self._fleet.nodes[replica.node])
        self._send(deployment, replica)
        sentence = f"{replica.key}: its worker was asked to put it to sleep at level {level}"
        self.effects.note_replica(replica, "replica.slept", sentence)

    def sleep_again(self, deployment: Deployment, replica: KnownReplica) -> None:
        """Repeat the order to be asleep to a replica whose engine has started anew since."""
        replica.order_if_idle(sleep=replica.sleep, spare=replica.spare, patience=replica.patience)
        self._send(deployment, replica)

    def take_back(self, deployment: Deployment, replica: KnownReplica, now: float) -> None:
        """Order a replica to run that has declined to stop or sleep, and leave it so for ``BUSY``."""
        replica.busy_until = now + BUSY
        doing = "stopped" if replica.ordered is Told.STOP else "put to sleep"
        replica.order_to_run()
        self._fleet.weigh(self._fleet.nodes[replica.node])
        self._send(deployment, replica)
        self.effects.note_replica(replica, "replica.kept", f"{replica.key} is not {doing}: it is busy")

    def put_to_sleep(self, deployment: Deployment, level: int) -> None:
        """Order the replicas that are ready and can sleep to be asleep, if they are idle."""
        for replica in deployment.running():
            report = replica.report
            if report is None or report.state is not ReplicaState.READY or not report.can_sleep:
                continue
            replica.order_if_idle(sleep=level)
            self._send(deployment, replica)
            sentence = f"{replica.key}: a person has put it to sleep at level {level}"
            self.effects.note_replica(replica, "replica.slept", sentence)

    def wake_all(self, deployment: Deployment) -> None:
        """Order the replicas to be awake that are asleep, or about to be."""
        for replica in deployment.running():
            if replica.sleep is not None or replica.state is ReplicaState.ASLEEP:
                self.wake(deployment, replica, "a person has woken it")

    def _send(self, deployment: Deployment, replica: KnownReplica) -> None:
        revision = deployment.revisions[replica.key.revision]
        self.effects.orders[replica.node, replica.key] = order_for(revision, replica)
