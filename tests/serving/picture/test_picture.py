"""The picture with workers around it that obey."""

from __future__ import annotations

from typing import Any

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.planning.rollout import SURGE_PATIENCE

from .world import World


def test_a_deployment_is_placed_and_served() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    assert world.where("m:command") == {"a": 1}
    assert world.routes["m:command"].revisions == (1,)
    world.ready()


def test_replicas_are_spread_over_workers() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m", auto_scaling_config={"min_instances": 4, "max_instances": 4})
    assert world.where("m:command") == {"a": 2, "b": 2}


def test_a_new_revision_takes_over_one_by_one() -> None:
    world = World()
    world.worker("a", gpus=4)
    scaling = {"min_instances": 2, "max_instances": 2}
    d = world.deploy("m", auto_scaling_config=scaling, num_gpus=1)
    world.ready()
    world.update(d, auto_scaling_config=scaling, num_gpus=1, backend_config={"command": ["other"]})
    a = world.machines["a"]
    assert sorted((k.revision, r.state) for k, r in a.running.items()) == [
        (1, ReplicaState.READY),
        (1, ReplicaState.READY),
        (2, ReplicaState.STARTING),
    ]
    world.ready()
    assert sorted((k.revision, r.state) for k, r in a.running.items()) == [(2, ReplicaState.READY)] * 2
    assert d.current == d.target == 2
    assert world.store.deployments[d.uid].current == 2


def test_a_failing_replica_moves() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m")
    (key,) = world.machines["a"].running
    world.say("a", key, ReplicaState.FAILED, failures=2, reason="no")
    assert world.where("m:command") == {"a": 1}
    world.say("a", key, ReplicaState.FAILED, failures=3, reason="no")
    assert world.where("m:command") == {"b": 1}


def test_a_lost_head_adopts() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    world.ready()
    before = dict(world.machines["a"].running)
    world.restart_head()
    assert world.machines["a"].running == before
    assert world.where("m:command") == {"a": 1}
    world.lose_store()
    assert world.machines["a"].running == before
    world.wait(11)
    assert world.machines["a"].running == before
    assert world.picture.catalogue.by_id["m:command"].recovered
    world.unlink("a")
    world.worker("b")
    world.wait(11)
    world.ready()
    assert world.where("m:command") == {"b": 1}
    world.link("a")
    assert world.where("m:command") == {"b": 1}
    assert world.machines["a"].running == {}


def test_where_downtime_is_allowed_the_only_replica_makes_room_at_once() -> None:
    world = World()
    world.worker("a", gpus=1)
    d = world.deploy("m", num_gpus=1)
    world.ready()
    changed: dict[str, Any] = {"num_gpus": 1, "backend_config": {"command": ["other"]}}
    world.update(d, **changed)
    world.wait(SURGE_PATIENCE - 1)
    assert world.states("a") == [(1, "ready")]
    world.wait(1)
    assert d.paused.startswith("there is no room for revision 2 beside the replica that serves")
    world.resume(d, allow_downtime=True)
    assert world.states("a") == [(2, "starting")]
    world.ready()
    assert (d.current, d.allow_downtime) == (2, False)
    changed["backend_config"] = {"command": ["third"]}
    world.update(d, allow_downtime=True, **changed)
    assert world.states("a") == [(3, "starting")]


def test_a_head_that_has_just_started_tells_gateways_what_is_deployed_before_workers_report() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    leaving = world.deploy("n")
    world.machines["a"].slow = True
    world.ready()
    world.delete(leaving)
    before = dict(world.routes)
    world.unlink("a")
    world.restart_head()
    assert not world.picture.settling.over
    assert world.routes == before
    assert set(before) == {"m:command"}
