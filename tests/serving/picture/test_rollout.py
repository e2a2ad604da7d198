"""How a new revision takes over: behind readiness, within the room there is, and back if it fails."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment

from .world import World, count

OTHER: Any = {"backend_config": {"command": ["other"]}}


def full(replicas: int, gpus: int = 1) -> tuple[World, Deployment]:
    """Return a worker whose GPUs are all taken by a deployment that serves."""
    world = World()
    world.worker("a", gpus=replicas * gpus)
    known = world.deploy("m", num_gpus=gpus, **count(replicas))
    world.ready()
    return world, known


def test_nothing_that_serves_is_stopped_before_another_one_serves() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.update(known, **OTHER)
    assert world.states("a") == [(1, "ready"), (2, "starting")]
    world.ready()
    assert world.states("a") == [(2, "ready")]
    assert world.told("rollout.finished") == ["revision 2 serves"]


def test_without_room_an_old_replica_of_several_goes_first_one_at_a_time() -> None:
    world, known = full(2)
    world.machines["a"].slow = True
    world.update(known, num_gpus=1, **count(2), **OTHER)
    world.say("a", max(known.replicas), ReplicaState.ASLEEP)
    world.say("a", max(known.replicas), ReplicaState.READY)
    assert world.states("a") == [(1, "ready")] * 2
    world.wait(31)
    assert world.states("a") == [(1, "draining"), (1, "ready")]
    world.wait(100)
    assert world.states("a") == [(1, "draining"), (1, "ready")]
    world.end("a")
    assert world.states("a") == [(1, "ready"), (2, "starting")]
    world.wait(100)
    assert world.states("a") == [(1, "ready"), (2, "starting")]
    world.ready()
    world.wait(31)
    world.end("a")
    world.ready()
    assert world.states("a") == [(2, "ready")] * 2


def test_without_room_the_only_replica_stays_and_the_rollout_pauses() -> None:
    world, known = full(1)
    world.update(known, num_gpus=1, **OTHER)
    world.wait(31)
    assert world.states("a") == [(1, "ready")]
    assert "--allow-downtime" in known.paused
    world.resume(known, allow_downtime=True)
    world.wait(31)
    world.ready()
    assert world.states("a") == [(2, "ready")]
    assert not known.allow_downtime


def test_a_replica_that_does_not_serve_goes_first_without_a_question() -> None:
    world, known = full(1)
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.STARTING)
    world.update(known, num_gpus=1, **OTHER)
    world.wait(31)
    world.ready()
    assert world.states("a") == [(2, "ready")]


def test_a_revision_that_needs_the_room_of_several_says_so_and_takes_it_with_leave() -> None:
    world, known = full(2)
    world.update(known, num_gpus=2, **count(2), **OTHER)
    world.wait(31)
    assert "beside the replicas that run" in known.paused
    world.resume(known, allow_downtime=True)
    world.wait(31)
    world.ready()
    assert world.states("a") == [(2, "ready")]


def test_a_revision_that_no_worker_has_room_for_stops_nothing() -> None:
    world, known = full(2)
    world.update(known, num_gpus=8, **count(2), **OTHER)
    world.wait(100)
    assert world.states("a") == [(1, "ready")] * 2
    assert "even without the replicas of the old one" in known.paused


def test_an_old_replica_whose_room_would_do_waits_until_the_others_serve() -> None:
    world, known = full(2)
    first, _ = sorted(world.machines["a"].running)
    world.update(known, num_gpus=1, **count(2), **OTHER)
    world.machines["a"].fails.add("m:command")
    world.wait(31)
    assert world.states("a") == [(1, "ready"), (2, "starting")]
    assert first in world.machines["a"].running


@pytest.mark.parametrize("way", ["failures", "time"])
def test_a_revision_that_fails_is_rolled_back(way: str) -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", startup_timeout=60)
    world.ready()
    world.update(known, startup_timeout=60, **OTHER)
    (new,) = [key for key in world.machines["a"].running if key.revision == 2]
    if way == "failures":
        world.say("a", new, ReplicaState.FAILED, failures=3, reason="no such file")
    else:
        world.wait(61)
    assert (known.current, known.target) == (1, 1)
    assert world.states("a") == [(1, "ready")]
    (told,) = world.told("rollout.rolled_back")
    assert told.startswith("revision 2 was rolled back to 1")
    assert world.store.revisions[known.uid, 2].failed


def test_a_start_counts_from_when_a_replica_last_ceased_to_serve() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", startup_timeout=60, **count(2))
    world.ready()
    world.update(known, startup_timeout=60, **count(2), **OTHER)
    new = max(world.machines["a"].running)
    world.say("a", new, ReplicaState.READY)
    world.wait(50)
    world.say("a", new, ReplicaState.STARTING, reason="it died")
    world.say("a", max(world.machines["a"].running), ReplicaState.READY)
    world.wait(30)
    assert known.target == 2
    world.wait(31)
    assert known.target == 1


def test_a_revision_that_every_worker_refuses_is_rolled_back() -> None:
    world = World()
    for name, gpus in (("a", 2), ("b", 2), ("small", 0), ("drained", 4)):
        world.worker(name, gpus, labels={"zone": "here"})
    world.worker("elsewhere", 4)
    here: dict[str, Any] = {"node_selector": {"zone": "here"}}
    known = world.deploy("m", num_gpus=1, **here)
    world.ready()
    for machine in world.machines.values():
        machine.refuses["m:command"] = "it has no such file"
    world.drain("drained")
    world.update(known, num_gpus=1, **here, **OTHER)
    world.wait(31)
    assert known.target == 1
    assert "refused it: it has no such file" in world.told("rollout.rolled_back")[0]


def test_an_update_during_a_rollout_and_back_to_what_serves() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.update(known, **OTHER)
    world.update(known, backend_config={"command": ["third"]})
    assert world.states("a") == [(1, "ready"), (3, "starting")]
    world.update(known)
    assert world.states("a") == [(1, "ready")]
    assert not known.rolling


def test_a_paused_rollout_keeps_both_and_replaces_what_is_lost_by_the_old_revision() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    known = world.deploy("m", **count(3))
    world.ready()
    world.update(known, **count(3), **OTHER)
    world.pause(known)
    world.ready()
    assert sorted(key.revision for key in known.replicas) == [1, 1, 1, 2]
    world.update(known, **count(1), **OTHER)
    assert len(known.running()) == 2
    world.resume(known)
    world.ready()
    assert [key.revision for key in known.replicas] == [2]


def test_a_change_of_policy_or_a_deletion_during_a_rollout() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m", **count(1))
    world.ready()
    world.update(known, **count(1), **OTHER)
    world.update(known, **count(3), **OTHER)
    world.ready()
    assert world.states("a") == [(2, "ready")] * 3
    world.update(known, **count(1), **OTHER)
    assert world.states("a") == [(2, "ready")]
    world.update(known, **count(1))
    world.delete(known)
    assert world.states("a") == []
    assert world.routes == {}


def test_each_endpoint_has_a_replica_of_its_own_also_after_their_number_has_changed() -> None:
    urls = ["http://a:1", "http://b:1", "http://c:1"]
    world = World()
    world.worker("a")
    known = world.deploy("m", backend="external", endpoints=urls)
    world.ready()
    assert sorted(key.number % 3 for key in known.replicas) == [0, 1, 2]
    world.update(known, backend="external", endpoints=urls[:2])
    world.pause(known)
    assert sum(key.revision == 1 for key in known.replicas) == 3
    world.resume(known)
    world.ready()
    assert sorted((key.revision, key.number % 2) for key in known.replicas) == [(2, 0), (2, 1)]


URLS = ["http://a:1", "http://b:1", "http://c:1"]


@pytest.mark.parametrize(
    ("two", "three"),
    [
        ({"backend": "external", "endpoints": URLS[:2]}, {"backend": "external", "endpoints": URLS}),
        (count(2), OTHER | count(3)),
    ],
)
def test_what_comes_back_during_a_rollout_serves_on_until_the_new_revision_does(two: Any, three: Any) -> None:
    world = World()
    world.workers("ab")
    known = world.deploy("m", **two)
    world.ready()
    assert world.where(known.id) == {"a": 1, "b": 1}
    world.restart_head(link=False)
    world.wait(31)  # both workers are given up
    world.restart_head(link=False)
    world.link("a")
    world.update(world.picture.catalogue.by_id[known.id], **three)
    world.link("b")
    assert world.states("a")[0] == world.states("b")[0] == (1, "ready")
    assert (world.states("a") + world.states("b")).count((2, "starting")) == 3
    world.ready()
    assert world.states("a") + world.states("b") == [(2, "ready")] * 3
