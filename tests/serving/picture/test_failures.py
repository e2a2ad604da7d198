"""Workers that are lost, drained or return, and replicas that fail or are refused."""

from __future__ import annotations

import pytest

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture import fleet
from sllm_actors.serving.picture.deployment_state import DeploymentState, spoken_for
from sllm_actors.serving.picture.node import Link

from .world import World, count


def test_a_worker_that_returns_within_the_grace_keeps_its_replicas() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **count(1))
    world.ready()
    (name,) = world.where("m:command")
    world.unlink(name)
    world.wait(9)
    world.link(name)
    world.wait(30)
    assert world.where("m:command") == {name: 1}


def test_of_too_many_the_one_that_returned_goes() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m")
    world.ready()
    (name,) = world.where("m:command")
    world.unlink(name)
    world.wait(11)
    assert world.picture.fleet.nodes[name].link is Link.DOWN
    world.ready()
    (other,) = [each for each in world.where("m:command") if each != name]
    world.link(name)
    assert world.where("m:command") == {other: 1}
    assert world.machines[name].running == {}


def test_while_more_than_a_third_is_away_none_is_given_up() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **count(4))
    world.ready()
    for name in "ab":
        world.unlink(name)
    world.wait(1000)
    assert world.where("m:command") == dict.fromkeys("abcd", 1)
    world.link("a")
    assert world.picture.fleet.nodes["b"].link is Link.DOWN
    assert sum(world.where("m:command").values()) == 4


def test_workers_that_said_goodbye_are_given_up_however_many_they_are_and_raise_no_doubt() -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **count(4))
    world.ready()
    for name in "ab":
        world.unlink(name, left=True)
    world.wait(1)
    world.unlink("c")  # for a reason that is not known
    world.wait(9.5)
    links = [world.picture.fleet.nodes[name].link for name in "abc"]
    assert links == [Link.DOWN, Link.DOWN, Link.SUSPECT]
    world.wait(1)
    assert world.where("m:command") == {"d": 4}


def test_while_the_head_doubts_itself_only_those_that_said_goodbye_are_given_up() -> None:
    world = World()
    world.workers("abcd")
    world.unlink("a")
    world.unlink("b")
    world.unlink("c", left=True)
    world.wait(100)
    links = [world.picture.fleet.nodes[name].link for name in "abc"]
    assert links == [Link.SUSPECT, Link.SUSPECT, Link.DOWN]
    world.unlink("d", left=True)
    world.link("d")
    world.wait(100)
    assert world.picture.fleet.nodes["d"].link is Link.UP


def test_a_worker_that_was_started_again_runs_its_orders_anew() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.unlink("a")
    world.link("a", new_life=True)
    assert world.states("a") == [(1, "starting")]
    world.link("a", new_life=True)  # the loss of the life before was not noticed
    assert world.states("a") == [(1, "starting")]
    assert len(known.replicas) == 1


def test_where_no_other_worker_is_left_a_failing_replica_stays_and_says_so() -> None:
    world = World()
    world.worker("a")
    world.deploy("m")
    (key,) = world.machines["a"].running
    for failures in (3, 4):
        world.say("a", key, ReplicaState.FAILED, failures=failures, reason="it broke")
    assert world.where("m:command") == {"a": 1}
    assert len(world.told("replica.stays")) == 1
    world.worker("b")
    world.say("a", key, ReplicaState.FAILED, failures=5, reason="it broke")
    assert world.where("m:command") == {"b": 1}
    (again,) = world.machines["b"].running
    world.wait(601)
    world.say("b", again, ReplicaState.FAILED, failures=3, reason="here, too")
    assert world.where("m:command") == {"a": 1}


def test_a_refusal_is_forgotten_when_the_worker_has_changed_or_after_ten_minutes() -> None:
    world = World()
    a = world.worker("a")
    a.refuses["m:command"] = "it has no such file"
    known = world.deploy("m")
    assert world.states("a") == []
    assert known.wait is not None
    del a.refuses["m:command"]
    world.inventory("a")
    assert world.states("a") == []
    a.changes += 1
    world.inventory("a")
    assert world.states("a") == [(1, "starting")]
    a.refuses["n:command"] = "it has no such file"
    world.deploy("n")
    del a.refuses["n:command"]
    world.wait(631)
    assert world.where("n:command") == {"a": 1}
    world.wait(601)
    a.refuses["o:command"] = "no"
    world.deploy("o")
    assert next(iter(world.picture.fleet.nodes["a"].rejections.values())).reason == "no"


def test_draining_moves_replicas_first_and_can_be_taken_back() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    world.ready()
    world.drain("a")
    world.wait(100)
    assert world.states("a") == [(1, "ready")]
    world.worker("b")
    assert world.states("b") == [(1, "starting")]
    world.drain("a", draining=False)
    assert (world.states("a"), world.states("b")) == ([(1, "ready")], [])
    world.drain("a")
    world.ready()
    assert (world.states("a"), world.states("b")) == ([], [(1, "ready")])
    world.restart_head()
    assert world.picture.fleet.nodes["a"].draining
    assert world.picture.catalogue.by_id[known.id].wait is None


def test_nodes_that_are_gone_for_long_are_forgotten_with_their_address() -> None:
    world = World()
    world.worker("a")
    world.worker("drained")
    world.drain("drained")
    for index in range(fleet.MAX_DOWN + 2):
        world.worker(f"w{index}")
        world.unlink(f"w{index}")
        world.wait(11)
    world.unlink("drained")
    world.wait(11)
    assert "w0" not in world.addresses
    assert "w0" not in world.store.nodes
    assert "drained" in world.picture.fleet.nodes
    assert world.audit() == []


def test_workers_that_are_still_awaited_are_not_forgotten_however_many_are_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "MAX_DOWN", 2)
    world = World()
    for index in range(5):
        world.worker(f"w{index}")
    world.deploy("m")
    world.restart_head(link=False)
    world.link("w0")
    world.unlink("w0")
    assert len(world.picture.fleet.nodes) == 5
    for index in range(1, 5):
        world.link(f"w{index}")
    assert world.is_settled()
    world.restart_head(link=False)
    world.wait(11)
    assert world.is_settled()
    assert len(world.picture.fleet.nodes) == 2
    assert world.audit() == []


def test_a_worker_that_loses_gpus_gets_nothing_new_until_there_is_room() -> None:
    world = World()
    a = world.worker("a", gpus=2)
    world.deploy("m", num_gpus=1, **count(2))
    a.has_gpus(1)
    world.inventory("a")
    known = world.deploy("n", num_gpus=1)
    assert known.wait is not None
    a.has_gpus(3, stuck=1)
    world.inventory("a")
    assert known.wait is not None
    a.has_gpus(3)
    world.inventory("a")
    assert world.where("n:command") == {"a": 1}


def test_a_vllm_deployment_takes_no_gpu_where_there_is_none() -> None:
    world = World()
    world.worker("cpu", gpus=0)
    world.worker("gpu", gpus=1)
    known = world.deploy("m", backend="vllm", **count(3))
    assert sorted((each.node, each.need.gpus) for each in known.replicas.values()) == [
        ("cpu", 0),
        ("cpu", 0),
        ("gpu", 1),
    ]


def test_a_replica_without_a_place_says_after_its_start_up_timeout_what_is_missing() -> None:
    world = World()
    world.worker("a", gpus=1)
    known = world.deploy("m", num_gpus=2, startup_timeout=60)
    world.wait(59)
    assert world.routes[known.id].no_place == ""
    world.wait(2)
    lacks = "no worker has 2 free GPUs for it (a has only 1): start a worker with more, or change num_gpus"
    sentence = f"it found no place within 60 s: {lacks}"
    assert world.routes[known.id].no_place == sentence
    assert world.told("deployment.no_place") == [sentence]


def test_numbers_are_used_only_when_they_are_stored() -> None:
    world = World()
    world.worker("a")
    known = world.deploy("m")
    known.next_number = known.usable
    world.store_away = True
    for key in list(known.replicas):
        world.say("a", key, ReplicaState.FAILED, unfit=True, reason="no")
    assert world.where("m:command") == {}
    world.worker("b")
    assert world.where("m:command") == {}
    world.store_away = False
    world.write()
    world.wait(31)
    assert world.where("m:command") == {"b": 1}
    assert max(key.number for key in known.replicas) >= 64


@pytest.mark.parametrize("left", [False, True])
def test_what_no_gateway_reaches_on_a_suspect_worker_is_replaced_at_once_where_requests_wait(
    *, left: bool
) -> None:
    world = World()
    world.workers("abcd")
    known = world.deploy("m", **count(1))
    world.ready()
    (name,) = world.where("m:command")
    (key,) = known.replicas
    world.unlink(name, left=left)
    world.want("m:command", held=1, reached=1)
    world.wait(2)
    assert world.where("m:command") == {name: 1}, "a gateway reaches it"
    world.want("m:command", held=1)
    (other,) = [each for each in world.where("m:command") if each != name]
    assert (spoken_for(known)[0], world.told("replica.moved")) == (
        DeploymentState.STARTING,
        [f"{key} is replaced: the link with {name} is lost, and requests wait that reach none"],
    )
    world.update(known, startup_timeout=77, **count(1))
    assert world.audit() == []
    world.ready()
    world.want("m:command", in_flight=1, reached=1)
    world.wait(5)
    assert world.where("m:command") == {name: 1, other: 1}, "one that is cut off cannot be stopped"
    world.link(name)
    assert world.where("m:command") == {other: 1}, "of equals, the one that returned goes"
    assert world.machines[name].running == {}


@pytest.mark.parametrize("new_life", [False, True])
def test_of_one_that_returns_and_the_one_in_its_place_that_which_is_further_from_serving_goes(
    *, new_life: bool
) -> None:
    world = World()
    world.workers("abcd")
    world.deploy("m", **count(1))
    world.ready()
    (name,) = world.where("m:command")
    world.want("m:command", held=1)
    world.unlink(name)
    (other,) = [each for each in world.where("m:command") if each != name]
    world.link(name, new_life=new_life)
    assert world.where("m:command") == {other if new_life else name: 1}
    world.ready()
    world.wait(100)
    assert sum(world.where("m:command").values()) == 1


@pytest.mark.parametrize("several", [False, True])
def test_while_more_than_a_third_is_away_nobody_is_evicted_for_what_is_replaced(*, several: bool) -> None:
    world = World()
    world.workers("abc")
    world.deploy("idle", num_gpus=1)
    for model in "mn":
        world.deploy(model, num_gpus=1, **count(1))
    world.ready()
    lost, beside = world.where("m:command"), world.where("n:command")
    world.want("m:command", held=1)
    for name in (*beside, *lost) if several else lost:
        world.unlink(name)
    world.wait(5)
    assert len(world.where("idle:command")) == several
    if several:
        world.worker("d")
    assert len(world.where("m:command")) == 2
    assert world.where("n:command") == beside, "nobody waits for it"
    assert world.audit() == []
