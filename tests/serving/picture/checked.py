"""A picture that checks each of its own decisions as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict, evolve

from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.missing import WorkersFor, waiting_revision
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.planning import rollout, scaling
from sllm_actors.serving.picture.planning.rollout import SURGE_PATIENCE
from sllm_actors.serving.picture.replica import KnownReplica, Told

from .definition import choose


class CheckedPicture(Picture):
    """Each place is the one that the definition chooses, and nothing that serves is stopped in vain.

    What is remembered in order to decide sooner is what would be found by deciding anew.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now: float = kwargs["now"]
        decides = self.planner
        self._place, decides._place = decides._place, self._checked_place  # type: ignore[method-assign]
        self._turn, decides._turn = decides._turn, self._checked_turn  # type: ignore[method-assign]
        self._plan, decides.plan = decides.plan, self._checked_plan  # type: ignore[method-assign]
        orders = decides.orders
        self._stop, orders.stop = orders.stop, self._checked_stop  # type: ignore[method-assign]

    def take(self, event: Any, now: float) -> None:
        self.now = now
        super().take(event, now)

    def plan(self, now: float, limit: int = 64) -> None:
        self.now = now
        super().plan(now, limit)

    def _checked_plan(self, deployment: Deployment, now: float, wall: float) -> None:
        anew = evolve(deployment, policy=None, policy_of=())
        known = (scaling._policy(anew, wall), anew.least, anew.most)
        if not deployment.deleting:
            goes_by = (deployment.policy, deployment.least, deployment.most)
            assert goes_by == known, f"{deployment.id} goes by a policy that holds no more"
        self._plan(deployment, now, wall)

    def _checked_turn(self, deployment: Deployment, now: float) -> bool:
        if rollout.is_steady(deployment, self.fleet.draining):
            workers = WorkersFor(self.fleet, deployment, self.costs, now, lambda _: False)
            todo = rollout.plan(deployment, workers, now)
            nothing = rollout.Plan(deployment.target)
            assert asdict(todo) == asdict(nothing), f"{deployment.id} is steady, and yet {todo}"
        return self._turn(deployment, now)

    def _checked_place(
        self,
        deployment: Deployment,
        revision: Revision,
        now: float,
        same: Mapping[str, int],
        *,
        but: str = "",
    ) -> KnownNode | None:
        node = self._place(deployment, revision, now, same, but=but)
        best = choose(self.fleet, deployment, revision, now, but)
        assert (node.id if node else None) == best, f"{node} was chosen, not {best}"
        return node

    def _checked_stop(
        self, replica: KnownReplica, reason: str, *, if_idle: bool = False, patience: float | None = None
    ) -> None:
        assert not if_idle or self.now >= replica.busy_until, f"{replica.key} is known to be busy"
        if replica.serves and replica.ordered is not Told.STOP and patience is None:  # else it had its turn
            why = self._wanted(replica)
            assert not why, f"{replica.key} serves and is stopped because {reason}: {why}"
        self._stop(replica, reason, if_idle=if_idle, patience=patience)

    def _wanted(self, replica: KnownReplica) -> str:
        """Return why a replica that serves should not be stopped; "" if it may be."""
        key = replica.key
        deployment = self.catalogue.by_id.get(key.deployment)
        if key.uid in self.catalogue.deletions:
            return ""
        if deployment is None:
            return "nobody has deleted it, and nobody has its id"
        if deployment.deleting:
            return ""
        others = [
            each for each in deployment.replicas.values() if each.ordered is Told.RUN and each is not replica
        ]
        serving = sum(each.serves for each in others)
        waits = deployment.wait is not None and self.now >= deployment.wait.since + SURGE_PATIENCE
        if deployment.replicas.get(key) is not replica:  # of another life, revision or engine, or a duplicate
            taken_back = deployment.uid == key.uid and deployment.recovered
            if serving or waits or taken_back or key in deployment.replicas:
                return ""
            return "what is deployed now does not serve"
        turns = len(deployment.revisions[key.revision].spec.endpoints)
        if turns and any(each.key.number % turns == key.number % turns for each in others):
            return ""
        wanted = len(waiting_revision(deployment).spec.endpoints) or deployment.wanted
        if serving >= wanted:
            return ""
        waits = waits or (deployment.wait is not None and deployment.allow_downtime and not others)
        first = deployment.rolling and waits and key.revision != deployment.target
        if first and (deployment.allow_downtime or 1 <= serving == len(others)):
            return ""
        return f"only {serving} of {wanted} others serve"
