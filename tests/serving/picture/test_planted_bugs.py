"""Each invariant of the model finds a bug that is planted for it, within some thousands of examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from sllm_actors.serving.decisions.scaling import ScalingPolicy
from sllm_actors.serving.picture.catalogue import Catalogue
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.room import RoomIndex
from sllm_actors.serving.picture.indices.timers import Timers
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.nodes import Nodes
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.planning import rollout, scaling
from sllm_actors.serving.picture.planning.planner import Planner
from sllm_actors.serving.picture.recovery import Recovery
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.replica_reports import ReplicaReports
from sllm_actors.serving.picture.room.need import Free, Need
from sllm_actors.serving.store.records import NodeRecord
from sllm_actors.serving.store.writes import PutDeployment, PutNode

from .checked import CheckedPicture
from .test_model import Histories

FIND = settings(
    max_examples=5000,  # few need more than 100; the search ends with the first that finds it
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

Patch = pytest.MonkeyPatch


def counts_one_gpu_too_many(patch: Patch) -> None:
    free = KnownNode.free.fget  # type: ignore[attr-defined]

    def more(node: KnownNode) -> Free:
        left: Free = free(node)
        return evolve(left, gpus=left.gpus + (node.gpus > 0))

    patch.setattr(KnownNode, "free", property(more))


def counts_one_slot_too_many(patch: Patch) -> None:
    free = KnownNode.free.fget  # type: ignore[attr-defined]

    def more(node: KnownNode) -> Free:
        left: Free = free(node)
        return left if left.slots is None else evolve(left, slots=left.slots + 1)

    patch.setattr(KnownNode, "free", property(more))


def takes_the_last_worker_with_room(patch: Patch) -> None:
    def with_room(index: RoomIndex, *needs: Need) -> Any:
        return reversed(list(original(index, *needs)))

    original = RoomIndex.with_room
    patch.setattr(RoomIndex, "with_room", with_room)


def forgets_that_one_waits(patch: Patch) -> None:
    patch.setattr(Planner, "_wait", lambda self, deployment, revision, now: self._settle_wait(deployment))


def stops_old_replicas_at_once(patch: Patch) -> None:
    def stop_leaving(
        _d: object, _k: object, leave: list[KnownReplica], _w: object, todo: Any, *_: object
    ) -> None:
        todo.stop += [(each, "it is old") for each in leave]

    patch.setattr(rollout, "_stop_leaving", stop_leaving)


def stops_what_a_lost_worker_has(patch: Patch) -> None:
    def give_up(nodes: Nodes, node: KnownNode) -> None:
        for replica in node.replicas.values():
            nodes._parts.planner.orders.stop(replica, "its worker is down")
        original(nodes, node)

    original = Nodes.give_up
    patch.setattr(Nodes, "give_up", give_up)


def stops_strangers(patch: Patch) -> None:
    def stranger(recovery: Recovery, replica: KnownReplica, now: float) -> None:
        recovery._planner.orders.stop(replica, "nobody knows it")

    patch.setattr(Recovery, "_stranger", stranger)


def writes_no_deletion(patch: Patch) -> None:
    def keep(planner: Planner, deployment: Deployment) -> None:
        if deployment.deleting:
            deployment.written = deployment.record
            planner.effects.writes.append(PutDeployment(evolve(deployment.record, deleting=False)))
        else:
            original(planner, deployment)

    original = Planner.keep
    patch.setattr(Planner, "keep", keep)


def forgets_deletions_too_early(patch: Patch) -> None:
    def remove(catalogue: Catalogue, deployment: Deployment, at: float) -> None:
        original(catalogue, deployment, at)
        del catalogue.deletions[deployment.uid]

    original = Catalogue.remove
    patch.setattr(Catalogue, "remove", remove)


def forgets_drains(patch: Patch) -> None:
    def keep_node(nodes: Nodes, node: KnownNode, now: float) -> None:
        record = NodeRecord(node.id, node.role, node.name)
        nodes._parts.planner.effects.writes.append(PutNode(record))

    patch.setattr(Nodes, "_keep_node", keep_node)


def leaves_orders_of_what_is_gone(patch: Patch) -> None:
    def gone(reports: ReplicaReports, node: KnownNode, replica: KnownReplica, now: float) -> None:
        original(reports, node, replica, now)
        if replica.ordered is Told.STOP:
            reports._parts.planner.effects.orders.pop((node.id, replica.key), None)

    original = ReplicaReports._gone
    patch.setattr(ReplicaReports, "_gone", gone)


def never_tries_again(patch: Patch) -> None:
    patch.setattr(Timers, "set", lambda *_: None)
    patch.setattr(Nodes, "offer", lambda *_: None)


def writes_the_same_again(patch: Patch) -> None:
    def keep(planner: Planner, deployment: Deployment) -> None:
        deployment.written = None
        original(planner, deployment)

    original = Planner.keep
    patch.setattr(Planner, "keep", keep)


def tells_gateways_nothing_new(patch: Patch) -> None:
    def publish(planner: Planner, deployment: Deployment) -> None:
        if deployment.route is None or deployment.deleting:
            original(planner, deployment)

    original = Planner.publish
    patch.setattr(Planner, "publish", publish)


def ignores_that_gpus_are_free_again(patch: Patch) -> None:
    def drop(fleet: Fleet, replica: KnownReplica) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Fleet, "weigh", lambda *_: None)
            original(fleet, replica)

    original = Fleet.drop
    patch.setattr(Fleet, "drop", drop)


def never_moves_what_fails(patch: Patch) -> None:
    def is_steady(deployment: Deployment, _: object) -> bool:
        known = deployment.revisions[deployment.target]
        return not deployment.rolling and not known.spec.endpoints and len(deployment.running()) > 0

    patch.setattr(rollout, "is_steady", is_steady)


def keeps_a_policy_for_good(patch: Patch) -> None:
    def policy(deployment: Deployment, wall: float) -> ScalingPolicy:
        return deployment.policy or original(deployment, wall)

    original = scaling._policy
    patch.setattr(scaling, "_policy", policy)


BUGS: list[tuple[Callable[[Patch], None], str, type[Picture]]] = [
    (counts_one_gpu_too_many, "more replicas than GPUs", Picture),
    (counts_one_slot_too_many, "more engines than slots", Picture),
    (takes_the_last_worker_with_room, "was chosen, not", CheckedPicture),
    (forgets_that_one_waits, "why", CheckedPicture),
    (stops_old_replicas_at_once, "others serve", CheckedPicture),
    (stops_what_a_lost_worker_has, "serves and is stopped because its worker is down", CheckedPicture),
    (stops_strangers, "nobody has deleted it", CheckedPicture),
    (writes_no_deletion, "has come back", CheckedPicture),
    (forgets_deletions_too_early, "has come back", CheckedPicture),
    (forgets_drains, "is no longer drained", CheckedPicture),
    (leaves_orders_of_what_is_gone, "has an order for", CheckedPicture),
    (never_tries_again, "assert", CheckedPicture),
    (writes_the_same_again, "PutDeployment", CheckedPicture),
    (tells_gateways_nothing_new, "another route", CheckedPicture),
    (never_moves_what_fails, "is steady, and yet", CheckedPicture),
    (keeps_a_policy_for_good, "holds no more", CheckedPicture),
    (ignores_that_gpus_are_free_again, "the index of room has", Picture),
]

FOUND_BY: dict[Callable[[Patch], None], int] = {
    forgets_deletions_too_early: 10,
    forgets_drains: 8,
    stops_what_a_lost_worker_has: 3,
    writes_no_deletion: 2,
}
"""Seeds whose first examples find a bug that takes others hundreds of them."""


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "found", "make"), BUGS, ids=[bug.__name__ for bug, _, _ in BUGS])
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], found: str, make: type[Picture], monkeypatch: Patch
) -> None:
    plant(monkeypatch)

    class Planted(Histories):
        pass

    Planted.make = make  # type: ignore[assignment]
    seed(FOUND_BY.get(plant, 1))(Planted)
    with pytest.raises(AssertionError, match=found):
        run_state_machine_as_test(Planted, settings=FIND)
