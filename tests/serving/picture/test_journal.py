"""Each decision is in the journal once, with its reason, and what does not change adds nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.journal.journal import Journal
from sllm_actors.serving.picture.events import RolloutPaused

from .world import World, count

OTHER: dict[str, Any] = {"backend_config": {"command": ["other"]}}
DAY = 86400.0


def noted(world: World, act: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the kinds and sentences that something adds to the journal."""
    before = len(world.journal)
    act()
    return [(each.kind, each.sentence) for each in world.journal[before:]]


def test_what_people_ask_of_a_deployment_is_noted_once_each() -> None:
    world = World()
    world.worker("a", 4)
    known = world.deploy("m", **count(2))
    world.ready()
    name = "m:command"
    assert noted(world, lambda: world.update(known, **count(2), priority=3)) == [
        ("deployment.changed", "settings 2: priority changed")
    ]
    assert noted(world, lambda: world.update(known, **count(2), priority=3, **OTHER)) == [
        ("rollout.started", "revision 2 is rolled out; revision 1 serves until it does"),
        ("replica.placed", f"{name}@2.2 goes to a"),
    ]
    assert noted(world, lambda: world.pause(known)) == [
        ("rollout.paused", "the rollout of revision 2 is paused: a person has paused it")
    ]
    assert noted(world, lambda: world.resume(known, allow_downtime=True))[0] == (
        "rollout.resumed",
        "the rollout of revision 2 goes on, and may stop the last replica that serves",
    )
    assert noted(world, lambda: world.update(known, **count(2), priority=3))[0] == (
        "rollout.started",
        "the rollout of revision 2 is called off: revision 1 goes on",
    )
    world.ready()
    deleted = noted(world, lambda: world.delete(known)) + noted(world, lambda: world.end("a"))
    assert deleted[0] == ("deployment.deleting", f"{name} is to be deleted, with 2 replicas")
    assert deleted[-1] == ("deployment.deleted", f"{name} is deleted")
    assert Counter(kind for kind, _ in deleted)["replica.stopped"] == 2


def test_a_rollout_that_ended_before_it_was_paused_is_not_said_to_be_paused() -> None:
    world = World()
    known = world.deploy("m")
    assert noted(world, lambda: world.send(RolloutPaused(known.uid, "a person has paused it"))) == []
    assert not known.paused


def test_each_start_and_each_failure_of_a_replica_is_noted_once() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    (key,) = known.replicas
    starting = noted(world, lambda: world.say("a", key, ReplicaState.STARTING, progress="loads"))
    assert starting == []
    ready = noted(world, lambda: world.say("a", key, ReplicaState.READY, started_in=1.5))
    assert ready == [("replica.ready", f"{key} is ready on a after 1.5 s")]
    assert noted(world, lambda: world.say("a", key, ReplicaState.READY, started_in=1.5)) == []
    died = {"failures": 1, "reason": "it ended"}
    assert noted(world, lambda: world.say("a", key, ReplicaState.FAILED, **died)) == [
        ("replica.failed", f"{key} failed on a: it ended")
    ]
    assert noted(world, lambda: world.say("a", key, ReplicaState.STARTING, **died)) == []
    again = {"failures": 2, "reason": ""}
    assert noted(world, lambda: world.say("a", key, ReplicaState.FAILED, **again)) == [
        ("replica.failed", f"{key} failed on a (2 times in a row): it did not say why")
    ]
    assert noted(world, lambda: world.say("a", key, ReplicaState.READY)) == [
        ("replica.ready", f"{key} is ready on a after 1.5 s")
    ]


def test_a_replica_that_is_moved_is_not_said_to_be_stopped_too() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    known = world.deploy("m")
    (key,) = known.replicas
    where = known.replicas[key].node
    failed = {"failures": 3, "reason": "it ended"}
    found = noted(world, lambda: world.say(where, key, ReplicaState.FAILED, **failed))
    assert [kind for kind, _ in found] == ["replica.failed", "replica.moved", "replica.placed"]
    assert found[1][1] == f"{key} goes elsewhere: {where} failed it: it ended"


def test_what_nodes_do_is_noted_with_their_names_and_what_is_lost_with_them() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **count(4))
    world.ready()
    assert noted(world, lambda: world.unlink("a")) == [("node.lost", "a is not linked: it is silent")]
    down = noted(world, lambda: world.wait(11))
    assert ("node.down", "a is down: it is silent; replicas lost with it: 1") in down
    assert noted(world, lambda: world.drain("b"))[0] == (
        "node.draining",
        "b is to be drained of its 2 replicas",
    )
    assert noted(world, lambda: world.drain("b", draining=False))[0] == (
        "node.undrained",
        "b is drained no longer: replicas may be placed there",
    )


def test_a_head_that_is_restarted_says_nothing_of_what_goes_on_as_before() -> None:
    world = World()
    world.workers("abc")
    world.deploy("m", **count(3))
    world.ready()
    world.restart_head()
    world.wait(100)
    assert Counter(each.kind for each in world.journal) == {"node.linked": 3}


def pending(world: World) -> None:
    world.worker("small", 0)
    world.deploy("m", num_gpus=8)


def crash_loop(world: World) -> None:
    world.worker("a")
    known = world.deploy("m")
    (key,) = known.replicas
    world.say("a", key, ReplicaState.FAILED, failures=5, reason="it ended")


def nobody_there(world: World) -> None:
    world.workers("abc")
    world.deploy("m", **count(3))
    world.ready()
    for name in "abc":
        world.unlink(name)


def paused(world: World) -> None:
    world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.update(known, **OTHER)
    world.pause(known)


def refused(world: World) -> None:
    for name in "ab":
        world.worker(name)
        world.machines[name].refuses["m:command"] = "it has no such file"
    world.deploy("m")


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [pending, crash_loop, nobody_there, paused])
def test_trouble_that_lasts_adds_nothing_to_the_journal(trouble: Callable[[World], None]) -> None:
    world = World()
    trouble(world)
    world.wait(3600)
    assert noted(world, lambda: world.wait(DAY)) == []


@pytest.mark.slow
def test_what_is_tried_again_and_again_is_noted_as_often_as_it_is_tried() -> None:
    world = World()
    refused(world)
    world.wait(3600)
    tried = noted(world, lambda: world.wait(DAY))
    placed = Counter(kind for kind, _ in tried)["replica.placed"]
    assert 0 < placed <= 2 * DAY / 600 + 2, "each worker is tried again after ten minutes"
    assert len(tried) <= 3 * placed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_journal_grows_by_what_happens_and_not_by_time(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    names = [f"w{number}" for number in range(6)]
    for name in names:
        world.worker(name, 2)
    deployments = [
        world.deploy(f"m{number}", num_gpus=rng.choice((0, 1, 4)), **count(2)) for number in range(6)
    ]
    world.ready()
    events = 0
    for _ in range(60):
        events += 1
        match rng.randrange(4):
            case 0:
                name = rng.choice(names)
                (world.unlink if world.machines[name].linked else world.link)(name)
            case 1:
                world.drain(rng.choice(names), draining=rng.random() < 0.5)
            case 2:
                known = rng.choice(deployments)
                world.update(known, **count(rng.randint(1, 3)), num_gpus=rng.choice((0, 1, 4)))
            case _:
                world.ready()
        world.wait(rng.choice((1.0, 30.0, 3600.0)))
    replicas = sum(each.kind == "replica.placed" for each in world.journal)
    assert len(world.journal) <= 6 * replicas + 3 * events + 12
    journal = Journal([], 1.0)
    kept = journal.note(world.journal, 1.0, 1.0)
    assert len(kept) >= 0.9 * len(world.journal), "few are the same as the one before"
