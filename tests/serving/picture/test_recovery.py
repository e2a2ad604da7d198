"""Heads that start again, with their store or without, and what workers run that nobody has ordered."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.picture import catalogue
from sllm_actors.serving.picture.catalogue import MAX_DELETIONS, REMEMBERED
from sllm_actors.serving.picture.events import ReplicasReported, TimePassed
from sllm_actors.serving.picture.picture import FORGETTING
from sllm_actors.serving.picture.recovery import BATCH

from .world import World, count


def test_a_head_that_has_just_started_waits_for_the_workers_that_it_knows() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m", **count(2))
    world.ready()
    world.restart_head(link=False)
    world.link("a")
    assert not world.is_settled()
    known = world.deploy("new")
    assert known.replicas  # nothing of it can be running
    world.wait(10)
    assert world.is_settled()
    assert "b" not in world.store.nodes
    assert world.where("m:command") == {"a": 2}


def test_a_fresh_store_waits_from_the_first_report_on() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    world.ready()
    world.lose_store()
    world.wait(11)
    assert world.store.fresh
    world.restart_head(link=False)
    world.wait(100)
    assert not world.is_settled()
    world.link("a")
    world.wait(9)
    assert not world.is_settled()
    world.wait(2)
    assert world.is_settled()
    assert world.states("a") == [(1, "ready")]


def test_the_revision_with_most_ready_replicas_is_taken_back() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    known = world.deploy("m", **count(2))
    world.ready()
    world.update(known, **count(2), backend_config={"command": ["other"]})
    world.lose_store()
    world.machines["b"].documents.clear()
    world.wait(11)
    back = world.picture.catalogue.by_id["m:command"]
    assert (back.recovered, back.current, back.wanted) == (True, 1, 2)
    assert [key.revision for key in back.replicas] == [1, 1]
    assert world.audit() == []


def test_a_document_that_is_missing_is_asked_again() -> None:
    world = World()
    a = world.worker("a")
    world.deploy("m")
    world.ready()
    documents, a.documents = a.documents, {}
    world.lose_store()
    world.wait(11)
    assert world.picture.catalogue.by_id == {}
    a.documents = dict.fromkeys(documents, '{"model": "another", "backend": "command"}')
    world.wait(11)
    assert world.picture.catalogue.by_id == {}
    a.documents = documents
    world.wait(21)
    assert world.states("a") == [(1, "ready")]
    assert world.picture.catalogue.by_id["m:command"].recovered


def rival_on(world: World, name: str, **fields: Any) -> None:
    key = next(iter(world.machines["a"].running))
    other = evolve(key, **fields)
    world.machines[name].running[other] = ReplicaReport(other.attempt(1), ReplicaState.READY)
    world.machines[name].documents[other] = world.machines["a"].documents[key]
    world.link(name)


@pytest.mark.parametrize("fields", [{"uid": "other"}, {"revision": 7}])
def test_a_rival_runs_until_what_is_deployed_serves(fields: dict[str, object]) -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.drain("b")
    world.deploy("m")
    rival_on(world, "b", **fields)
    assert len(world.machines["b"].running) == 1
    world.ready()
    assert world.machines["b"].running == {}


@pytest.mark.parametrize("deleted", [True, False])
def test_a_rival_gives_way_to_what_finds_no_place_or_is_deleted(deleted: bool) -> None:
    world = World()
    world.worker("a", gpus=1)
    world.worker("b", gpus=0)
    world.deploy("x", num_gpus=1)
    known = world.deploy("m", num_gpus=1)
    world.machines["a"].documents = dict(world.machines["a"].documents)
    rival_on(world, "b", uid="other", deployment="m:command")
    world.wait(20)
    assert len(world.machines["b"].running) == 1
    if deleted:
        world.delete(known)
    else:
        world.wait(41)
    assert world.machines["b"].running == {}


@pytest.mark.parametrize("served", [True, False])
def test_a_rival_whose_worker_was_away_when_the_id_was_deleted_is_not_taken_back(served: bool) -> None:
    world = World()
    world.worker("a")
    b = world.worker("b")
    world.drain("b")
    known = world.deploy("m")
    rival_on(world, "b", uid="other")
    (key,) = b.running
    b.slow = True
    if served:
        world.ready()
    world.delete(known)
    world.unlink("b")
    world.wait(60)
    assert world.picture.catalogue.by_id == {}
    b.running = {key: ReplicaReport(key.attempt(1), ReplicaState.READY)}  # it has not heard of the order
    b.slow = False
    world.restart_head(link=False)
    world.link("a")
    world.link("b")
    world.wait(30)
    assert (b.running, world.picture.catalogue.by_id) == ({}, {})
    assert world.audit() == []


def test_a_stranger_whose_id_is_deployed_meanwhile_is_a_rival() -> None:
    world = World()
    a = world.worker("a")
    world.deploy("m")
    world.ready()
    world.lose_store()
    world.uids = 100
    world.deploy("m")
    world.wait(11)
    world.ready()
    assert {key.uid for key in a.running} == {"uid-101"}


def test_what_was_deployed_and_deleted_again_takes_its_stranger_along() -> None:
    world = World()
    a = world.worker("a")
    world.deploy("m")
    world.ready()
    world.lose_store()
    world.uids = 100
    world.delete(world.deploy("m"))
    world.wait(21)
    assert (a.running, world.picture.catalogue.by_id) == ({}, {})


def test_of_two_strangers_with_one_id_the_second_is_a_rival_of_the_first() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m")
    world.ready()
    world.lose_store()
    rival_on(world, "b", uid="other")
    world.wait(11)
    (back,) = world.picture.catalogue.by_id.values()
    world.delete(back)
    world.wait(21)
    assert (world.states("a"), world.states("b"), world.picture.catalogue.by_id) == ([], [], {})


def test_while_a_deployment_is_being_written_its_stranger_waits() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    world.ready()
    world.lose_store()
    assert world.picture.hold("m:command")
    assert not world.picture.hold("m:command")
    world.wait(11)
    assert world.picture.catalogue.by_id == {}
    world.picture.release("m:command")
    world.wait(11)
    assert world.picture.catalogue.by_id["m:command"].recovered


def test_a_strangers_worker_may_be_lost_before_it_is_decided() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m", **count(2))
    world.ready()
    world.lose_store()
    for name, report in ((n, r) for n in "ab" for r in list(world.machines[n].running.values())):
        world.send(ReplicasReported(name, (evolve(report, state=ReplicaState.STOPPED),)))
    world.wait(11)
    assert world.picture.catalogue.by_id == {}


def test_the_same_replica_on_two_workers_is_stopped_on_the_later() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.deploy("m")
    world.ready()
    (name,) = world.where("m:command")
    other = "b" if name == "a" else "a"
    (key,) = world.machines[name].running
    world.say(other, key, ReplicaState.READY)
    assert (len(world.machines[name].running), world.machines[other].running) == (1, {})


def test_what_was_draining_when_the_head_started_is_not_adopted() -> None:
    world = World()
    a = world.worker("a")
    known = world.deploy("m")
    world.ready()
    a.slow = True
    world.delete(known)
    assert world.states("a") == [(1, "draining")]
    world.restart_head()
    assert world.states("a") == [(1, "draining")]
    world.end("a")
    assert known.uid in world.store.deletions
    world.deploy("n", **count(1))
    world.ready()
    (key,) = a.running
    world.say("a", key, ReplicaState.DRAINING)
    world.restart_head()
    assert world.states("a") == [(1, "draining"), (1, "starting")]
    world.lose_store()
    world.wait(30)
    assert len(world.picture.catalogue.by_id) == 1


def test_what_was_deleted_while_its_worker_was_away_is_stopped() -> None:
    world = World()
    a = world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.unlink("a")
    world.delete(known)
    world.wait(11)
    assert world.picture.catalogue.by_id == {}
    assert len(a.running) == 1
    world.link("a")
    assert a.running == {}


def test_deletions_are_remembered_for_ninety_days_and_until_every_worker_has_reported() -> None:
    world = World()
    world.worker("a")
    world.worker("b")
    world.delete(world.deploy("m"))
    world.wait(1)
    world.unlink("b")
    world.wait(1)
    world.delete(world.deploy("n"))
    world.wait(REMEMBERED + 10)
    assert list(world.store.deletions) == ["uid-2"]  # b has not reported since
    world.link("b")
    world.wait(7300)
    assert world.store.deletions == {}


@pytest.mark.slow
def test_too_many_deletions_are_not_remembered() -> None:
    world = World()
    world.worker("a")
    known = world.picture.catalogue
    world.delete(world.deploy("m"))
    for index in range(MAX_DELETIONS + 3):
        known.deletions[f"x{index}"] = evolve(known.deletions["uid-1"], uid=f"x{index}")
    forgotten = known.forget_deletions(0.0, 0.0)
    assert len(known.deletions) == MAX_DELETIONS
    assert forgotten[0] == "uid-1"


def test_of_too_many_deletions_the_oldest_are_forgotten_long_before_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "MAX_DELETIONS", 3)
    world = World()
    world.worker("a")
    for _ in range(5):
        world.delete(world.deploy("m"))
    world.wait(FORGETTING)
    assert list(world.store.deletions) == ["uid-3", "uid-4", "uid-5"]


def test_many_deployments_of_a_lost_store_are_taken_back_a_few_at_a_time() -> None:
    world = World()
    world.worker("a")
    for index in range(BATCH + 3):
        world.deploy(f"m{index}")
    world.ready()
    world.lose_store()
    world.now += 10
    world.picture.take(TimePassed(), world.now)
    assert len(world.picture.catalogue.by_id) == BATCH
    due = world.picture.due()
    assert due is not None
    assert due <= world.now, "the others are due at once"
    world.send(TimePassed())
    assert len(world.picture.catalogue.by_id) == BATCH + 3
    assert world.audit() == []


def test_whether_an_id_is_unknown_is_undecided_while_workers_may_run_it() -> None:
    world = World()
    assert world.picture.undecided("m:command", world.now) == 10
    world.worker("a")
    assert world.picture.undecided("m:command", world.now) == 0, "workers run nothing that is unknown"
    world.deploy("m")
    world.ready()
    assert world.picture.undecided("m:command", world.now) == 0
    world.restart_head(link=False)
    assert world.picture.undecided("other:command", world.now) == 0, "the store is not new"
    world.lose_store()
    world.wait(4)
    assert world.picture.undecided("m:command", world.now) == 6
    assert world.picture.undecided("other:command", world.now) == 6
    world.wait(6)
    assert world.picture.undecided("m:command", world.now) == 0
    assert world.picture.undecided("other:command", world.now) == 0


def test_the_later_of_two_with_one_id_counts() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    records = world.store.deployments[known.uid], world.store.revisions[known.uid, 1]
    world.store.deployments["later"] = evolve(records[0], uid="later", created=records[0].created + 1)
    world.store.revisions["later", 1] = evolve(records[1], uid="later")
    world.restart_head()
    assert list(world.store.deployments) == ["later"]
    world.send(TimePassed())
    assert list(world.picture.catalogue.after("")) == [world.picture.catalogue.by_uid["later"]]
    assert list(world.picture.catalogue.after("m:command")) == []
