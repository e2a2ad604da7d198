"""Stops *if idle*: ordered, declined, taken back, ordered again; and what else may happen meanwhile."""

from __future__ import annotations

from typing import Any

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.planning.ordering import BUSY
from sllm_actors.serving.picture.replica import Told

from .world import World, count

MOST: Any = {"auto_scaling_config": {"min_instances": 1, "max_instances": 2}}


def too_many(*, busy: bool = False, slow: bool = False) -> tuple[World, Deployment, ReplicaKey]:
    """Return two replicas of which one is not needed any more, and that one, which is ordered to stop."""
    world = World()
    a = world.worker("a", gpus=2)
    a.slow = slow
    known = world.deploy("m", **count(2))
    world.ready()
    last = max(known.replicas)
    if busy:
        a.busy.add(last)
    world.update(known, **MOST)
    return world, known, last


def test_what_is_idle_and_not_needed_stops() -> None:
    world, _, _ = too_many()
    assert world.states("a") == [(1, "ready")]
    (said,) = world.told("replica.stopped")
    assert said.endswith("1 is enough")


def test_what_is_busy_is_kept_and_ordered_to_stop_again_later() -> None:
    world, known, last = too_many(busy=True)
    assert world.states("a") == [(1, "ready")] * 2
    assert world.told("replica.kept") == [f"{last} is not stopped: it is busy"]
    assert known.replicas[last].ordered is Told.RUN
    assert world.audit() == []
    world.wait(BUSY - 0.1)
    assert len(world.told("replica.kept")) == 1
    world.wait(0.2)
    assert len(world.told("replica.kept")) == 2
    world.machines["a"].busy.clear()
    world.wait(BUSY)
    assert world.states("a") == [(1, "ready")]
    assert world.audit() == []


def test_a_plain_stop_does_not_wait_for_what_is_busy() -> None:
    world, known, last = too_many(busy=True)
    world.update(known, **count(1))  # no more than one may run
    assert known.replicas.keys() == {min(known.replicas)}
    assert last not in world.machines["a"].running


def test_haste_wins_over_a_stop_if_idle_that_is_under_way() -> None:
    world, known, last = too_many(slow=True)
    assert world.machines["a"].orders[last].if_idle
    world.delete(known)
    order = world.machines["a"].orders[last]
    assert (order.if_idle, order.stop) == (False, "its deployment is being deleted")
    assert world.audit() == []


def test_a_decline_that_comes_after_a_plain_stop_takes_nothing_back() -> None:
    world, known, last = too_many(slow=True)
    world.delete(known)
    world.say("a", last, ReplicaState.READY, declined=1)
    assert world.machines["a"].orders[last].run is None
    assert world.told("replica.kept") == []


def test_a_decline_is_heard_when_the_link_comes_back() -> None:
    world, known, last = too_many(slow=True)
    world.unlink("a")
    world.machines["a"].put(last, ReplicaState.READY, declined=1)
    world.link("a")
    assert len(world.told("replica.kept")) == 1
    assert world.machines["a"].orders[last].run is not None
    assert known.replicas[last].ordered is Told.RUN


def test_a_new_head_takes_back_a_stop_if_idle_and_decides_by_itself() -> None:
    world, _, last = too_many(slow=True)
    world.machines["a"].put(last, ReplicaState.DRAINING, if_idle=True)
    world.prompt = False
    world.restart_head()
    world.wait(11)
    order = world.machines["a"].orders[last]
    assert order.if_idle or order.run is not None, "its requests would be lost"
    (known,) = world.picture.catalogue.by_uid.values()
    assert len(known.replicas) == 2


def test_a_new_head_ends_what_ends_for_certain() -> None:
    world, _, last = too_many(slow=True)
    world.machines["a"].put(last, ReplicaState.DRAINING)
    world.restart_head()
    assert world.machines["a"].orders[last].stop == "it was being stopped"


def test_a_sleeper_stays_asleep_when_a_new_head_finds_it_and_is_dropped_when_it_has_ended() -> None:
    world = World()
    a = world.worker("a")
    known = world.deploy("m")
    world.ready()
    (key,) = known.replicas
    world.say("a", key, ReplicaState.ASLEEP, level=2)
    world.restart_head()
    world.wait(11)
    assert a.orders[key].sleep == 2
    assert world.states("a") == [(1, "asleep")]
    del a.running[key]
    world.obey("a")
    (known,) = world.picture.catalogue.by_uid.values()
    assert key not in known.replicas
    assert world.audit() == []
