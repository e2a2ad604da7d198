"""Replicas that are not needed sleep where they can, wake before another one starts, and go in the end."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import Demand, Gpu
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.events import DemandReported, LoadAsked, TierAsked, UnloadAsked
from sllm_actors.serving.picture.planning.ordering import BUSY

from .world import World


class Resting:
    """One replica on a worker that is ready, and not needed after ten seconds without a request."""

    def __init__(self, *, can_sleep: bool = True, room: int = 1, **scaling: Any) -> None:
        self.world = World()
        self.machine = self.world.worker("a", gpus=room)
        keys = {"keep_alive": 10, "min_instances": 0, "max_instances": 2, "target": 1, **scaling}
        self.known: Deployment = self.world.deploy("m", num_gpus=1, auto_scaling_config=keys)
        self.can_sleep = can_sleep
        if not self.known.replicas:
            self.want(1)
        self.ready()
        self.want(0)

    def ready(self) -> None:
        for key in list(self.machine.running):
            self.world.say("a", key, ReplicaState.READY, can_sleep=self.can_sleep)

    def want(self, requests: int) -> None:
        """Let clients want so much."""
        gone = () if requests else (self.known.id,)
        put = (Demand(self.known.id, held=requests),) if requests else ()
        self.world.send(DemandReported("g", put, gone))

    def wait(self, seconds: float) -> None:
        """Let time pass, with a gateway that goes on saying what its clients want."""
        for _ in range(round(seconds)):
            self.world.send(DemandReported("g"))
            self.world.wait(1)

    @property
    def key(self) -> ReplicaKey:
        (key,) = self.known.replicas
        return key

    @property
    def states(self) -> list[str]:
        return [state for _, state in self.world.states("a")]


def test_what_is_not_needed_sleeps_where_it_can_and_the_next_request_wakes_it() -> None:
    rest = Resting()
    rest.wait(9)
    assert rest.states == ["ready"]
    rest.wait(2)
    assert rest.states == ["asleep"]
    assert rest.machine.orders[rest.key].sleep == 1
    (said,) = rest.world.told("replica.slept")
    assert "at level 1: no request for 10 s" in said
    rest.wait(100)
    assert rest.states == ["asleep"], "its room is not needed"
    key = rest.key
    rest.want(1)
    assert rest.states == ["ready"]
    assert (rest.key, rest.machine.orders[key].sleep) == (key, None), "no second one is started"
    assert len(rest.world.told("replica.woken")) == 1
    assert rest.world.audit() == []


def test_what_cannot_sleep_or_must_not_stops() -> None:
    for rest in (Resting(can_sleep=False), Resting(sleep_level=0)):
        rest.wait(11)
        assert rest.states == []
        assert rest.world.told("replica.slept") == []


def test_a_deployment_says_how_deep_and_for_how_long() -> None:
    rest = Resting(sleep_level=2, sleep_keep_alive=30)
    rest.wait(11)
    assert rest.machine.orders[rest.key].sleep == 2
    rest.wait(28)
    assert rest.states == ["asleep"]
    rest.wait(3)
    assert rest.states == []
    assert "it has slept for 30 s, and nobody has needed it" in rest.world.told("replica.stopped")[0]


def test_what_is_busy_after_all_does_not_sleep_and_is_asked_again() -> None:
    rest = Resting()
    rest.machine.busy.add(rest.key)
    rest.wait(12)
    assert rest.states == ["ready"]
    (said, *_) = rest.world.told("replica.kept")
    assert said.endswith("is not put to sleep: it is busy")
    rest.machine.busy.clear()
    rest.wait(round(BUSY) + 1)
    assert rest.states == ["asleep"]


def test_more_requests_wake_one_and_start_another() -> None:
    rest = Resting(room=2)
    rest.wait(11)
    rest.want(2)
    rest.wait(8)
    assert sorted(rest.states) == ["ready", "starting"]


def test_one_that_a_person_has_put_to_sleep_stands_for_the_minimum_until_a_request() -> None:
    rest = Resting(min_instances=1)
    rest.world.say("a", rest.key, ReplicaState.ASLEEP, level=1)  # asked for on its worker
    assert rest.machine.orders[rest.key].sleep == 1
    rest.wait(30)
    assert rest.states == ["asleep"]
    rest.world.restart_head()
    rest.world.wait(11)
    assert rest.states == ["asleep"], "a new head wakes nothing either"
    (rest.known,) = rest.world.picture.catalogue.by_uid.values()
    rest.want(1)
    assert rest.states == ["ready"]


def test_one_that_is_put_to_sleep_while_a_request_waits_is_ordered_anew_to_be_awake() -> None:
    rest = Resting()
    before = rest.machine.orders[rest.key]
    rest.world.prompt = False
    rest.want(1)
    rest.world.say("a", rest.key, ReplicaState.ASLEEP, level=1)
    after = rest.machine.orders[rest.key]
    assert (after.sleep, after.run) == (None, before.run)
    assert after != before, "else its worker would not hear of it"


def test_one_that_was_woken_on_its_worker_is_kept_as_if_a_request_had_ended() -> None:
    rest = Resting()
    rest.wait(11)
    rest.world.say("a", rest.key, ReplicaState.READY, level=None)
    assert rest.machine.orders[rest.key].sleep is None
    rest.wait(9)
    assert rest.states == ["ready"]
    rest.wait(2)
    assert rest.states == ["asleep"]


def test_what_is_unloaded_does_not_sleep_and_what_is_loaded_wakes() -> None:
    awake, asleep = Resting(keep_alive=-1), Resting()
    asleep.wait(11)
    assert (awake.states, asleep.states) == (["ready"], ["asleep"])
    for rest in (awake, asleep):
        rest.world.send(UnloadAsked(rest.known.uid))
        rest.wait(1)
        assert rest.states == []
        rest.want(1)
        rest.wait(1)
        rest.ready()
        rest.want(0)
    asleep.wait(11)
    assert asleep.states == ["asleep"], "that holds for one time only"
    asleep.world.send(LoadAsked(asleep.known.uid))
    assert asleep.states == ["ready"]
    asleep.wait(9)
    assert asleep.states == ["ready"]


def test_what_a_person_wakes_is_kept_as_if_a_request_had_ended() -> None:
    rest = Resting()
    rest.wait(11)
    rest.world.send(TierAsked(rest.known.uid, None))
    assert rest.states == ["ready"]
    rest.wait(9)
    assert rest.states == ["ready"]
    rest.wait(2)
    assert rest.states == ["asleep"]


def asleep_beside_another() -> tuple[World, Deployment, Deployment]:
    """Return one that sleeps, and one that is ready and has the only GPU meanwhile."""
    world = World()
    a = world.worker("a")
    a.inventory = evolve(a.inventory, gpus=(Gpu("a-0", memory_total=1000),))
    world.inventory("a")
    known = []
    for name in ("first", "second"):
        known.append(world.deploy(name, num_gpus=1))
        world.ready()
        (key,) = known[-1].replicas
        world.say("a", key, ReplicaState.READY, can_sleep=True, devices=("a-0",), gpu_reserved=9)
        if name == "first":
            world.say("a", key, ReplicaState.ASLEEP, level=1, devices=("a-0",), gpu_reserved=1)
    assert world.states("a") == [(1, "asleep"), (1, "ready")]
    return world, known[0], known[1]


def test_for_one_that_has_no_room_to_wake_another_one_goes() -> None:
    world, first, second = asleep_beside_another()
    (key,) = first.replicas
    world.send(DemandReported("g", (Demand(first.id, held=1),)))
    for _ in range(3):
        world.send(DemandReported("g"))
        world.wait(1)
    assert world.states("a") == [(1, "ready")]
    assert list(first.replicas) == [key], "it woke, and no other one was started"
    assert not second.replicas, "it was idle, and its room is needed"
    assert world.audit() == []


def test_one_that_its_worker_cannot_wake_gives_way_too() -> None:
    rest = Resting()
    rest.wait(11)
    key = rest.key
    rest.world.prompt = False
    rest.want(1)
    rest.world.say("a", key, ReplicaState.ASLEEP, level=None)  # it tries to wake
    rest.world.say("a", key, ReplicaState.ASLEEP, level=1, declined=1, reason="no room on its GPU")
    assert rest.machine.orders[key].stop == "no room on its GPU"
    rest.world.prompt = True
    rest.world.obey("a")
    rest.wait(1)
    assert rest.states == ["starting"]
    assert rest.key != key


def test_a_minimum_is_kept_awake() -> None:
    rest = Resting(min_instances=1)
    rest.wait(30)
    assert rest.states == ["ready"]


def test_a_sleeper_of_an_old_revision_goes_when_a_new_one_comes() -> None:
    rest = Resting(room=2)
    rest.wait(11)
    scaling = {"keep_alive": 10, "min_instances": 0, "max_instances": 2, "target": 1}
    other: Any = {"num_gpus": 1, "backend_config": {"command": ["other"]}, "auto_scaling_config": scaling}
    rest.world.update(rest.known, **other)
    rest.want(1)
    rest.wait(1)
    rest.ready()
    rest.wait(1)
    assert {key.revision for key in rest.machine.running} == {2}
    assert rest.world.audit() == []
