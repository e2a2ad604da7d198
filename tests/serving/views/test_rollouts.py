"""What is shown of a new revision while it is rolled out, and after it was rolled back."""

from __future__ import annotations

from typing import Any

from tests.serving.picture.world import WALL, World

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.events import RolloutPaused

from .kit import described

TWO = {"min_instances": 2, "max_instances": 2}


def test_a_rollout_shows_how_many_replicas_of_the_new_revision_serve() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m", auto_scaling_config=TWO)
    world.ready()
    assert described(world, known)["rollout"] is None
    world.now = 4.0
    world.update(known, auto_scaling_config=TWO, backend_config={"command": ["other"]})
    new = next(key for key in known.replicas if key.revision == 2)
    shown = described(world, known)
    assert shown["revision"] == 1
    assert shown["generation"] == 2
    assert shown["rollout"] == {
        "revision": 2,
        "state": "progressing",
        "reason": "",
        "ready": 0,
        "wanted": 2,
        "since": WALL + 4.0,
    }
    world.say("w1", new, ReplicaState.STARTING, progress="loading")
    assert described(world, known)["rollout"]["reason"] == "loading"
    world.machines["w1"].fails.add("m:command")
    world.say("w1", new, ReplicaState.FAILED, reason="out of memory", failures=1)
    assert described(world, known)["rollout"]["reason"] == "out of memory"
    world.say("w1", new, ReplicaState.READY, failures=0)
    rollout = described(world, known)["rollout"]
    assert (rollout["state"], rollout["ready"], rollout["reason"]) == ("progressing", 1, "")
    world.machines["w1"].fails.clear()
    world.ready()
    shown = described(world, known)
    assert (shown["revision"], shown["rollout"]) == (2, None)


def test_a_rollout_that_finds_no_place_says_so_and_then_why_it_pauses() -> None:
    world = World()
    world.worker("w1", gpus=1)
    known = world.deploy("m", num_gpus=1)
    world.ready()
    world.update(known, num_gpus=1, backend_config={"command": ["other"]})
    shown = described(world, known)
    assert shown["detail"] == ""
    assert shown["rollout"]["reason"] == (
        "a replica has no place: no worker has 1 free GPU for it (w1 has 0 of 1 free: m:command has it)"
    )
    world.wait(31.0)
    rollout = described(world, known)["rollout"]
    assert (rollout["state"], rollout["ready"], rollout["wanted"]) == ("paused", 0, 1)
    assert rollout["reason"].startswith("there is no room for revision 2 beside the replica that serves")


def test_a_rollout_that_a_person_paused_shows_the_reason() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.ready()
    world.update(known, backend_config={"command": ["other"]})
    world.send(RolloutPaused(known.uid, "wait until tomorrow"))
    rollout = described(world, known)["rollout"]
    assert (rollout["state"], rollout["reason"]) == ("paused", "wait until tomorrow")


def test_a_revision_that_was_rolled_back_is_shown_until_another_update() -> None:
    world = World()
    world.worker("w1")
    known = world.deploy("m")
    world.ready()
    world.machines["w1"].fails.add("m:command")
    world.update(known, backend_config={"command": ["other"]})
    new = next(key for key in known.replicas if key.revision == 2)
    world.say("w1", new, ReplicaState.FAILED, reason="no such model", failures=3)
    shown = described(world, known)
    assert (shown["revision"], shown["state"]) == (1, "ready")
    rollout = shown["rollout"]
    assert (rollout["revision"], rollout["state"], rollout["ready"]) == (2, "rolled_back", 0)
    assert rollout["reason"] == "it failed 3 times in a row: no such model"
    world.machines["w1"].fails.clear()
    world.update(known, backend_config={"command": ["better"]})
    assert described(world, known)["rollout"]["state"] == "progressing"
    world.ready()
    assert described(world, known)["rollout"] is None


def test_a_revision_that_begins_without_a_replica_counts_as_the_one_that_serves_until_it_is_tried() -> None:
    world = World()
    world.worker("a")
    least: dict[str, Any] = {"auto_scaling_config": {"min_instances": 0}}
    known = world.deploy("m", **least)
    world.update(known, **least, backend_config={"command": ["other"]})
    shown = described(world, known)
    assert (shown["revision"], shown["rollout"], shown["state"]) == (2, None, "idle")
    assert known.current == 1
