"""Loading, unloading, sleep and wake by hand, in a world of workers that obey."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serving.picture.world import World

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.control import Change
from sllm_actors.serving.loading import requests
from sllm_actors.serving.messages import ControlAnswer, Demand, Done, Refusal, RefusalKind
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import DeploymentState, spoken_for
from sllm_actors.serving.picture.events import DemandReported

ID = "m:command"


def scaled(least: int | None = 0, **more: Any) -> dict[str, Any]:
    given = {} if least is None else {"min_instances": least}
    return {"auto_scaling_config": {"max_instances": 2, **given, **more}}


def world_with(**document: Any) -> tuple[World, Deployment]:
    """Return a world with a worker and a deployment, of which all is ready that is started."""
    world = World()
    world.worker("a", gpus=2)
    known = world.deploy("m", **({} | scaled() | document))
    world.ready()
    return world, known


def loaded(**document: Any) -> tuple[World, Deployment]:
    """The same with one replica that is ready."""
    world, known = world_with(**document)
    said(world, requests.load(world.picture, ID))
    world.ready()
    assert state(known) is DeploymentState.READY
    return world, known


def said(world: World, answer: Change | ControlAnswer) -> tuple[str, bool]:
    """Let what was asked happen; return the state and whether it is pending, as the answer says."""
    if isinstance(answer, Change):
        assert answer.writes == ()
        for event in answer.events:
            world.send(event)
        answer = answer.answer
    assert not isinstance(answer, Refusal), answer
    return json.loads(answer.document)["state"], answer.pending


def unload(world: World, name: str = ID, *, force: bool = False) -> Change | ControlAnswer:
    return requests.unload(world.picture, name, force=force, wall=world.picture.wall(world.now))


def refused(answer: Change | ControlAnswer) -> tuple[str, str]:
    assert isinstance(answer, Refusal), answer
    return answer.code, answer.message


def wants(world: World, held: int = 0, in_flight: int = 0) -> None:
    if held or in_flight:
        world.send(DemandReported("g", (Demand(ID, held, in_flight),)))
    else:
        world.send(DemandReported("g", (), (ID,)))


def state(deployment: Deployment) -> DeploymentState:
    return spoken_for(deployment)[0]


def replicas(world: World) -> int:
    return sum(world.where(ID).values())


def can_sleep(world: World, known: Deployment) -> None:
    for key in known.replicas:
        world.say("a", key, ReplicaState.READY, can_sleep=True)


# ---- load and unload


def test_an_idle_deployment_is_loaded_once_and_lives_by_its_keep_alive_from_when_it_is_ready() -> None:
    world, known = world_with(**scaled(keep_alive=60))
    assert (replicas(world), state(known)) == (0, DeploymentState.IDLE)
    assert said(world, requests.load(world.picture, ID)) == ("ready", True)
    assert (replicas(world), known.needed) == (1, 1)
    world.wait(100.0)  # it loads for longer than it will be kept
    assert replicas(world) == 1
    assert said(world, requests.load(world.picture, ID)) == ("ready", True)
    assert replicas(world) == 1
    world.ready()
    world.wait(59.0)
    assert said(world, requests.load(world.picture, ID)) == ("ready", False)  # it counts as a use
    world.wait(59.0)
    assert replicas(world) == 1
    world.wait(2.0)
    assert (replicas(world), state(known)) == (0, DeploymentState.IDLE)
    assert world.audit() == []


def test_what_is_unloaded_stays_deployed_and_the_next_request_loads_it() -> None:
    world, known = loaded()
    assert said(world, unload(world)) == ("idle", True)
    assert (replicas(world), state(known)) == (0, DeploymentState.IDLE)
    assert "a person has unloaded it" in world.told("replica.stopped")[-1]
    assert said(world, unload(world)) == ("idle", False)
    world.wait(3600.0)
    assert replicas(world) == 0
    wants(world, held=1)
    assert replicas(world) == 1
    assert world.audit() == []


def test_a_load_that_is_under_way_can_be_called_off() -> None:
    world, _ = world_with(**scaled(None))
    assert replicas(world) == 1  # it was loaded when it was deployed
    said(world, unload(world))
    said(world, requests.load(world.picture, ID))
    assert replicas(world) == 1
    assert said(world, unload(world)) == ("idle", True)
    world.wait(60.0)
    assert replicas(world) == 0


@pytest.mark.parametrize(("held", "in_flight", "requests_"), [(1, 0, "1 request"), (1, 2, "3 requests")])
def test_what_has_requests_is_not_unloaded(held: int, in_flight: int, requests_: str) -> None:
    world, _ = loaded()
    wants(world, held, in_flight)
    code, sentence = refused(unload(world))
    assert code == "busy"
    assert sentence == f"{ID} has {requests_}: unload it later, or with --force, which lets them end first"
    assert replicas(world) == 1


def test_with_force_requests_end_first_and_what_waits_then_loads_it_again() -> None:
    world, known = loaded()
    world.machines["a"].slow = True
    wants(world, held=1, in_flight=2)
    assert said(world, unload(world, force=True)) == ("idle", True)
    assert (world.states("a"), replicas(world)) == ([(1, "draining")], 0)
    wants(world, held=2, in_flight=2)
    world.wait(3.0)
    assert replicas(world) == 0  # none starts beside the one that ends
    assert world.audit() == []
    world.end("a")
    assert replicas(world) == 1
    assert known.wanted == 1


def test_requests_that_come_just_before_an_unload_keep_the_replica() -> None:
    world, known = loaded()
    (key,) = known.replicas
    world.machines["a"].busy.add(key)  # the head has not heard of them yet
    said(world, unload(world))
    assert world.states("a") == [(1, "ready")]
    wants(world, in_flight=1)
    world.machines["a"].busy.clear()
    world.wait(10.0)
    wants(world, in_flight=1)
    assert (world.states("a"), known.wanted) == ([(1, "ready")], 1)


def test_a_minimum_keeps_a_deployment_loaded_and_the_remedy_is_named() -> None:
    world, _ = world_with(**scaled(2))
    code, sentence = refused(unload(world, force=True))
    assert code == "has_minimum"
    remedy = f"`sllm update {ID} --min-instances 0` lets it be unloaded"
    assert sentence == f"{ID} is to have at least 2 replicas: {remedy}"
    assert replicas(world) == 2


def test_a_schedule_that_wants_replicas_now_keeps_a_deployment_loaded() -> None:
    schedule = {"cron": "0 0 * * *", "duration": 86400, "min_instances": 1}
    world, _ = world_with(**scaled(schedules=[schedule]))
    code, sentence = refused(unload(world))
    assert code == "has_minimum"
    assert sentence.startswith(f"{ID} is to have at least 1 replica now, as its schedules say: change ")


def test_servers_of_somebody_else_are_not_unloaded() -> None:
    world = World()
    world.worker("a")
    world.deploy("m", backend="external", endpoints=["http://10.0.0.9:8000"])
    code, _ = refused(unload(world, "m:external", force=True))
    assert code == "cannot_unload"


def test_both_revisions_of_a_rollout_are_unloaded() -> None:
    world, known = loaded()
    world.update(known, **scaled(), backend_config={"command": ["other"]})
    assert len(known.running()) == 2
    said(world, unload(world, force=True))
    assert known.replicas == {}
    wants(world, held=1)
    world.ready()
    assert world.states("a") == [(2, "ready")]


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_is_loaded_by_hand_has_room_made_for_it_and_what_is_preloaded_has_not(by_hand: bool) -> None:
    world = World()
    world.worker("a", gpus=0, slots=1)
    other = world.deploy("other", **scaled(None))
    world.ready()
    world.wait(60.0)
    known = world.deploy("m", **scaled(), preload=not by_hand)
    if by_hand:
        said(world, requests.load(world.picture, ID))
    world.wait(60.0)
    world.ready()
    assert (len(known.running()), len(other.running())) == ((1, 0) if by_hand else (0, 1))


# ---- sleep and wake


def test_a_deployment_is_put_to_sleep_and_woken() -> None:
    world, known = loaded()
    can_sleep(world, known)
    assert said(world, requests.put_to_sleep(world.picture, ID, 2)) == ("asleep", True)
    assert (world.states("a"), state(known)) == ([(1, "asleep")], DeploymentState.ASLEEP)
    assert said(world, requests.put_to_sleep(world.picture, ID, 2)) == ("asleep", False)
    other = requests.put_to_sleep(world.picture, ID, 1)
    assert isinstance(other, Done)
    assert json.loads(other.document)["message"] == f"{ID} is asleep at level 2"
    assert said(world, requests.wake(world.picture, ID)) == ("ready", True)
    assert state(known) is DeploymentState.READY
    assert said(world, requests.wake(world.picture, ID)) == ("ready", False)
    assert world.audit() == []


def test_of_several_replicas_those_sleep_that_can_and_those_are_woken_that_sleep() -> None:
    world, known = world_with(**scaled(2))
    first, second = known.replicas
    world.say("a", second, ReplicaState.READY, can_sleep=True)
    said(world, requests.put_to_sleep(world.picture, ID, 1))
    assert world.states("a") == [(1, "asleep"), (1, "ready")]
    assert said(world, requests.wake(world.picture, ID)) == ("ready", True)
    assert world.states("a") == [(1, "ready")] * 2
    assert [key for key, order in world.machines["a"].orders.items() if order.sleep is None] == [
        first,
        second,
    ]


def test_loading_what_has_requests_changes_nothing() -> None:
    world, known = loaded(**scaled(keep_alive=60))
    wants(world, in_flight=1)
    assert said(world, requests.load(world.picture, ID)) == ("ready", False)
    for _ in range(100):
        wants(world, in_flight=1)
        world.wait(1.0)
    assert (replicas(world), known.wanted) == (1, 1)


def test_loading_what_is_asleep_wakes_it() -> None:
    world, known = loaded()
    can_sleep(world, known)
    said(world, requests.put_to_sleep(world.picture, ID, 1))
    assert said(world, requests.load(world.picture, ID)) == ("ready", True)
    assert world.states("a") == [(1, "ready")]


def test_what_a_gateway_has_woken_can_be_put_to_sleep_again() -> None:
    world, known = loaded()
    can_sleep(world, known)
    said(world, requests.put_to_sleep(world.picture, ID, 1))
    (key,) = known.replicas
    world.say("a", key, ReplicaState.READY, level=None)  # a request came, and the worker was asked
    assert (world.machines["a"].orders[key].sleep, world.states("a")) == (None, [(1, "ready")])
    assert world.told("replica.woken") == [f"{key}: its worker was asked to wake it"]
    said(world, requests.put_to_sleep(world.picture, ID, 1))
    assert world.states("a") == [(1, "asleep")]
    assert world.audit() == []


def test_what_a_worker_was_asked_to_put_to_sleep_sleeps_on() -> None:
    world, known = loaded()
    can_sleep(world, known)
    (key,) = known.replicas
    world.say("a", key, ReplicaState.ASLEEP, can_sleep=True, level=2)
    assert (world.machines["a"].orders[key].sleep, state(known)) == (2, DeploymentState.ASLEEP)
    assert world.told("replica.slept") == [f"{key}: its worker was asked to put it to sleep at level 2"]
    assert world.audit() == []


def test_the_servers_of_somebody_else_neither_sleep_nor_wake() -> None:
    world = World()
    world.worker("a")
    world.deploy("theirs", backend="external", endpoints=["http://a"], backend_config={})
    name = "theirs:external"
    sentence = f"{name} is served by somebody else's servers, which sllm neither puts to sleep nor wakes"
    for answer in (requests.put_to_sleep(world.picture, name, 1), requests.wake(world.picture, name)):
        assert refused(answer) == ("cannot_sleep", sentence)


def test_a_sleeper_is_unloaded_too() -> None:
    world, known = loaded()
    can_sleep(world, known)
    said(world, requests.put_to_sleep(world.picture, ID, 1))
    assert said(world, unload(world)) == ("idle", True)
    assert known.replicas == {}


def test_what_cannot_sleep_or_does_not_serve_is_refused_with_the_remedy() -> None:
    world, known = world_with()
    assert refused(requests.put_to_sleep(world.picture, ID, 1)) == (
        "wrong_state",
        f"{ID} has no replica that is ready: `sllm load` starts one",
    )
    sentence = f"{ID} has no replica that is asleep: `sllm load` starts one"
    assert refused(requests.wake(world.picture, ID)) == ("wrong_state", sentence)
    said(world, requests.load(world.picture, ID))
    sentence = f"{ID} has no replica that is ready: one is on its way"
    assert refused(requests.put_to_sleep(world.picture, ID, 1)) == ("wrong_state", sentence)
    world.ready()
    sentence = f"the engine of {ID} cannot sleep: `sllm unload {ID}` stops it"
    assert refused(requests.put_to_sleep(world.picture, ID, 1)) == ("cannot_sleep", sentence)
    can_sleep(world, known)
    wants(world, in_flight=1)
    assert refused(requests.put_to_sleep(world.picture, ID, 1)) == (
        "busy",
        f"{ID} has 1 request: put it to sleep later",
    )
    assert refused(requests.put_to_sleep(world.picture, ID, 3))[1] == "level must be 0, 1 or 2, not 3"


def test_a_deployment_that_there_is_not_or_no_longer_is_refused() -> None:
    world, known = loaded()
    world.machines["a"].slow = True
    world.delete(known)
    for name, kind in ((ID, RefusalKind.CONFLICT), ("x:vllm", RefusalKind.UNKNOWN)):
        for answer in (
            requests.load(world.picture, name),
            unload(world, name, force=True),
            requests.put_to_sleep(world.picture, name, 1),
            requests.wake(world.picture, name),
        ):
            assert isinstance(answer, Refusal)
            assert answer.kind is kind


# ---- preload


def test_preload_loads_once_when_it_is_deployed_and_whenever_the_head_starts() -> None:
    world, _ = world_with(preload=True, **scaled(keep_alive=60))
    assert world.states("a") == [(1, "ready")]
    world.wait(61.0)
    assert replicas(world) == 0
    world.restart_head()
    assert replicas(world) == 1
    known = world.picture.catalogue.by_id[ID]
    assert known.needed == 0  # so it makes nobody go
    world.ready()
    world.wait(61.0)
    assert replicas(world) == 0


def test_without_preload_a_head_that_starts_loads_nothing() -> None:
    world, _ = loaded()
    said(world, unload(world))
    world.restart_head()
    world.wait(60.0)
    assert replicas(world) == 0
