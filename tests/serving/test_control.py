"""What people ask of the head: how it changes the store and the picture, and what they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from tests.serving.picture.world import World, spec_of

from sllm_actors.serving import control
from sllm_actors.serving.control import Change
from sllm_actors.serving.messages import Done, Refusal
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.events import GatewayCalled, NodeLost, NodeUp
from sllm_actors.serving.store.writes import DropNode, DropNodeKey, PutDeployment, PutNode, PutRevision

ID = "m:command"


def world() -> tuple[World, Deployment]:
    made = World()
    made.worker("a")
    deployment = made.deploy("m")
    made.ready()
    return made, deployment


def carried_out(here: World, change: Any) -> Change:
    """Let a change happen as the head's actor does."""
    assert isinstance(change, Change)
    here.store.apply(list(change.writes))
    for event in change.events:
        here.send(event)
    return change


def changed(here: World, deployment: Deployment, *, allow_downtime: bool = False, **document: Any) -> Any:
    spec = spec_of("m", **document)
    return control.update(here.picture, deployment, spec, 9.0, [], allow_downtime=allow_downtime)


def test_a_new_deployment_goes_on_from_the_revisions_of_the_last_of_its_name() -> None:
    here, deployment = world()
    here.delete(deployment)
    change = carried_out(here, control.add(here.picture, spec_of("m"), "u2", 9.0, ["old key"]))
    assert isinstance(change.answer, Done)
    said = json.loads(change.answer.document)
    assert (said["revision"], said["warnings"]) == (2, ["old key"])
    assert here.picture.catalogue.by_id[ID].uid == "u2"


def test_an_update_of_nothing_changes_nothing_and_says_so() -> None:
    here, deployment = world()
    answer = changed(here, deployment)
    assert isinstance(answer, Done)
    assert json.loads(answer.document)["message"] == f"{ID} has these settings already"


def test_that_nothing_is_needed_is_kept_with_the_update_that_says_so() -> None:
    """A head that is killed right after its answer does not load it once all the same."""
    here = World()
    here.worker("a", gpus=0)
    deployment = here.deploy("m", num_gpus=1)
    assert (deployment.wanted, deployment.record.loaded) == (1, False)
    idle: dict[str, Any] = {"auto_scaling_config": {"min_instances": 0}, "num_gpus": 1}
    for asked_for, loaded in ((True, False), (False, True)):
        deployment.asked_for = asked_for
        change = changed(here, deployment, **idle)
        assert isinstance(change, Change)
        assert [each.record.loaded for each in change.writes if isinstance(each, PutDeployment)] == [loaded]
    here.store.apply(list(change.writes))
    here.restart_head()
    assert here.picture.catalogue.by_id[ID].wanted == 0


def test_an_update_of_the_engine_is_a_revision_beside_the_old_one() -> None:
    here, deployment = world()
    change = carried_out(here, changed(here, deployment, num_gpus=0, hold_limit=5))
    (record,) = [write.record for write in change.writes if isinstance(write, PutDeployment)]
    assert (record.current, record.target, record.generation) == (1, 2, 2)
    assert [write.record.revision for write in change.writes if isinstance(write, PutRevision)] == [1, 2]
    assert {each.spec.hold_limit for each in deployment.revisions.values()} == {5}, "policy is of all"
    here.ready()
    assert (deployment.current, deployment.target) == (2, 2)


def test_the_engine_of_before_calls_a_rollout_off() -> None:
    here, deployment = world()
    carried_out(here, changed(here, deployment, num_gpus=0))
    assert deployment.target == 2
    change = carried_out(here, changed(here, deployment))
    assert isinstance(change.answer, Done)
    assert json.loads(change.answer.document)["revision"] == 1
    assert (deployment.current, deployment.target) == (1, 1)
    assert here.store.deployments[deployment.uid].target is None
    assert [key.revision for key in here.machines["a"].running] == [1]


def test_a_pause_is_kept_once_and_a_resume_ends_it() -> None:
    here, deployment = world()
    for ask in (control.pause, lambda p, n: control.resume(p, n, allow_downtime=False)):
        refusal = ask(here.picture, ID)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "no_rollout"
        refusal = ask(here.picture, "x:command")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "deployment_not_found"
    carried_out(here, changed(here, deployment, num_gpus=0))
    carried_out(here, control.pause(here.picture, ID))
    assert deployment.paused == control.PAUSED == here.store.deployments[deployment.uid].paused
    assert isinstance(control.pause(here.picture, ID), Done)
    carried_out(here, control.resume(here.picture, ID, allow_downtime=True))
    assert (deployment.paused, deployment.allow_downtime) == ("", True)


def test_a_deletion_is_kept_once() -> None:
    here, deployment = world()
    assert isinstance(control.delete(here.picture, "x:command"), Refusal)
    deployment.deleting = True
    assert isinstance(control.delete(here.picture, ID), Done)
    assert isinstance(changed(here, deployment, num_gpus=0), Refusal)
    deployment.deleting = False
    change = control.delete(here.picture, ID)
    assert isinstance(change, Change)
    assert change.writes == (PutDeployment(evolve(deployment.record, deleting=True)),)


@pytest.mark.parametrize("draining", [True, False])
def test_a_drain_is_kept_over_what_was_decided_before_it_and_is_written_after_it(draining: bool) -> None:
    here, _ = world()
    here.drain("a", draining=not draining)
    change = control.drain(here.picture, "a", draining=draining)
    assert isinstance(change, Change)
    here.store.apply(list(change.writes))
    here.store.apply([PutNode(evolve(here.store.nodes["a"], draining=not draining))])
    for event in change.events:
        here.send(event)
    here.restart_head()
    assert here.picture.fleet.nodes["a"].draining is draining


def test_a_worker_is_drained_by_its_id_or_its_name() -> None:
    here, _ = world()
    here.picture.fleet.nodes["a"].name = "rack-1"
    for wanted in ("a", "rack-1"):
        change = carried_out(here, control.drain(here.picture, wanted, draining=True))
        assert isinstance(change.writes[0], PutNode)
        assert change.writes[0].record.draining
        assert isinstance(control.drain(here.picture, wanted, draining=True), Done)
        carried_out(here, control.drain(here.picture, wanted, draining=False))
        assert isinstance(control.drain(here.picture, wanted, draining=False), Done)
    assert isinstance(control.drain(here.picture, "nobody", draining=True), Refusal)


def refused(answer: object) -> str:
    assert isinstance(answer, Refusal)
    return f"{answer.code}: {answer.message}"


def said(answer: object) -> Any:
    assert isinstance(answer, Done)
    return json.loads(answer.document)


def test_a_node_is_removed_once_it_is_down_and_then_nothing_is_known_of_it() -> None:
    here, _ = world()
    assert refused(control.remove(here.picture, "a", ())) == (
        "node_up: a is up: drain it (sllm drain a --wait) and stop it first"
    )
    here.drain("a")
    here.unlink("a")
    assert refused(control.remove(here.picture, "a", ())).startswith(
        "node_suspect: a was linked a moment ago"
    )
    here.wait(11)
    change = carried_out(here, control.remove(here.picture, "a", ()))
    assert change.writes == (DropNode("a"), DropNodeKey("a"))
    assert said(change.answer) == {
        "node": "a",
        "name": "a",
        "removed": True,
        "message": "a is removed: its name and its id are free for another node",
    }
    here.write()
    assert not here.picture.fleet.nodes
    assert not here.picture.fleet.draining
    assert not here.store.nodes
    assert here.told("node.removed") == ["a is removed: its name and id are free for another node"]
    assert said(control.remove(here.picture, "a", ())) == {
        "node": None,
        "name": "a",
        "removed": False,
        "message": "no node a is known: there is nothing to remove",
    }
    here.link("a", new_life=True)
    assert not here.picture.fleet.nodes["a"].draining
    assert here.audit() == []


@pytest.mark.slow
def test_a_node_that_comes_back_while_it_is_removed_stays() -> None:
    here, _ = world()
    here.unlink("a")
    here.wait(11)
    change = control.remove(here.picture, "a", ())
    here.link("a")
    carried_out(here, change)
    here.write()
    assert set(here.picture.fleet.nodes) == set(here.store.nodes) == {"a"}
    assert here.told("node.removed") == []
    assert here.audit() == []


def test_of_two_nodes_of_one_name_the_one_that_is_down_is_removed() -> None:
    here, _ = world()
    for name in "bc":
        here.worker(name)
    for node in here.picture.fleet.nodes.values():
        node.name = "rack"
    assert refused(control.remove(here.picture, "rack", ())).startswith("node_ambiguous: 3 nodes are called")
    here.unlink("b", left=True)
    here.wait(11)
    assert carried_out(here, control.remove(here.picture, "rack", ())).subject == "b"
    assert sorted(here.picture.fleet.nodes) == ["a", "c"]


def test_a_gateway_is_removed_as_well_and_one_of_which_only_the_key_is_known() -> None:
    here, _ = world()
    here.send(NodeUp("g", "gateway", "10.0.0.9", here.machines["a"].incarnation))
    here.send(GatewayCalled("g", "gateway-0@rack"))
    assert refused(control.remove(here.picture, "gateway-0@rack", ())) == (
        "node_up: gateway-0@rack is up: stop it first"
    )
    here.send(NodeLost("g", here.machines["a"].incarnation, "it said goodbye", left=True))
    carried_out(here, control.remove(here.picture, "gateway-0@rack", ()))
    assert "g" not in here.picture.fleet.nodes
    change = carried_out(here, control.remove(here.picture, "old", ("old",)))
    assert change.writes == (DropNode("old"), DropNodeKey("old"))
    assert here.told("node.removed")[-1] == "old is removed: its id is free for another node"


def test_a_worker_that_a_restarted_head_waits_for_can_be_removed() -> None:
    here, _ = world()
    here.restart_head(link=False)
    carried_out(here, control.remove(here.picture, "a", ()))
    here.wait(11)
    assert not here.picture.fleet.nodes
    assert here.audit() == []
