"""Events that come late, twice, or for what is gone meanwhile."""

from __future__ import annotations

import pytest
from attrs import evolve

from sllm_actors.actors import Incarnation
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.picture import fleet
from sllm_actors.serving.picture.events import (
    DocumentRead,
    NodeLost,
    NodeUp,
    PolicyChanged,
    ReplicasReported,
)
from sllm_actors.serving.picture.indices.queues import WaitingQueues
from sllm_actors.serving.picture.planning import planner
from sllm_actors.serving.picture.room.need import Free, Need
from sllm_actors.serving.store.records import NodeRecord

from .world import World, count


def test_a_policy_of_a_revision_that_is_gone_changes_nothing_of_it() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    gone = evolve(known.revisions[1].record(known.uid), revision=7)
    world.send(PolicyChanged(known.uid, (gone,), 2))
    assert (list(known.revisions), known.generation) == ([1], 2)


def test_a_link_that_comes_back_in_the_same_life_keeps_what_was_refused() -> None:
    world = World()
    a = world.worker("a")
    a.refuses["m:command"] = "no"
    world.deploy("m")
    world.unlink("a")
    world.send(NodeUp("a", "worker", "10.0.0.1", a.incarnation))
    assert world.picture.fleet.nodes["a"].rejections


def test_a_gateway_of_the_store_is_not_waited_for_and_is_forgotten_some_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "MAX_DOWN", 1)
    world = World()
    world.worker("a")
    world.deploy("m")  # else the store counts as fresh
    world.store.nodes["g"] = NodeRecord("g", "gateway")
    world.restart_head()
    assert world.picture.settling.over
    world.drain("a")
    for name in ("h", "i"):
        world.send(NodeUp(name, "gateway", "10.0.0.2", Incarnation(1, 0)))
        world.send(NodeLost(name, Incarnation(1, 0), "it ended"))
    assert sorted(world.picture.fleet.nodes) == ["a", "i"]
    world.unlink("a")
    world.wait(11)
    world.send(NodeUp("k", "gateway", "10.0.0.2", Incarnation(1, 0)))
    world.send(NodeLost("k", Incarnation(1, 0), "it ended"))
    assert "a" in world.picture.fleet.nodes


def test_what_waits_is_deleted_and_its_time_comes() -> None:
    world = World()
    a = world.worker("a")
    a.refuses["m:command"] = "no"
    known = world.deploy("m")
    world.delete(known)
    world.wait(100)
    a.changes += 1
    world.inventory("a")
    assert world.picture.catalogue.by_id == {}


def test_a_drained_worker_that_is_missing_after_the_start_stays_known() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.drain("a")
    world.deploy("m")  # else the store counts as fresh
    world.restart_head(link=False)
    world.wait(11)
    assert list(world.store.nodes) == ["a"]


def test_draining_a_worker_with_a_stranger_leaves_it_alone() -> None:
    world = World()
    a = world.worker("a")
    world.deploy("m")
    world.ready()
    world.lose_store()
    world.drain("a")
    world.wait(5)
    assert world.states("a") == [(1, "ready")]
    (key,) = a.running
    world.say("a", key, ReplicaState.ASLEEP, level=1)
    world.send(DocumentRead("nobody", 1, ""))
    world.send(ReplicasReported("a", (), (evolve(key, number=99),)))
    strange = ReplicaReport(evolve(key, number=98).attempt(1), ReplicaState.STOPPED)
    world.send(ReplicasReported("a", (strange,)))
    world.wait(6)
    assert world.states("a") == [(1, "asleep")]


def test_two_strangers_are_decided_each_in_its_time() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m")
    world.deploy("n")
    world.ready()
    world.store = type(world.store)()
    world.restart_head(link=False)
    world.link("a")
    world.wait(5)
    world.link("b")
    world.wait(6)
    assert len(world.picture.catalogue.by_id) == 1
    world.wait(5)
    assert len(world.picture.catalogue.by_id) == 2


def test_a_rival_that_ends_by_itself_is_forgotten() -> None:
    world = World()
    a = world.worker("a")
    world.deploy("m")
    (key,) = a.running
    rival = evolve(key, uid="other")
    world.say("a", rival, ReplicaState.READY)
    del a.running[rival]
    world.send(ReplicasReported("a", (), (rival,)))
    world.ready()
    assert list(a.running) == [key]
    assert world.audit() == []


def test_room_that_a_waiting_head_may_not_have_goes_to_the_next() -> None:
    world = World()
    a = world.worker("a", gpus=1)
    world.deploy("x", num_gpus=1)
    world.deploy("any", backend="vllm")  # may run where there is no GPU; needs one here
    a.has_gpus(2, stuck=1)
    world.inventory("a")
    a.refuses["large:command"] = "no"
    world.deploy("large", num_gpus=1)
    a.has_gpus(2)
    world.inventory("a")
    assert world.where("any:vllm") == {"a": 1}


def test_a_plan_that_comes_to_no_end_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_TURNS", 1)
    world = World(prompt=False)
    world.worker("a")
    known = world.deploy("m", **count(1))
    assert known.due == planner.RETRY
    world.wait(31)
    assert known.due is None


def test_a_queue_keeps_what_is_left_of_it() -> None:
    queues = WaitingQueues()
    queues.add("a", Need(1))
    queues.add("b", Need(1))
    queues.remove("a")
    assert list(queues.for_room(Free(1), lambda _: True)) == ["b"]


def test_the_place_of_an_old_replica_on_a_drained_worker_is_none() -> None:
    world = World()
    world.worker("a", gpus=1)
    known = world.deploy("m", num_gpus=1)
    world.ready()
    world.update(known, num_gpus=1, backend_config={"command": ["other"]})
    world.drain("a")
    world.wait(31)
    assert "even without the replicas of the old one" in known.paused
