"""What replicas take and workers have: slots and memory, beside GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.messages import Inventory
from sllm_actors.serving.picture.indices.labels import LabelIndex
from sllm_actors.serving.picture.indices.queues import WaitingQueues
from sllm_actors.serving.picture.indices.room import FEW, RoomIndex
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.room import peaks
from sllm_actors.serving.picture.room.fitting import fits_without
from sllm_actors.serving.picture.room.need import NOTHING, Free, Need, share_of
from sllm_actors.serving.picture.room.peaks import Peaks
from sllm_actors.serving.picture.room.placing import COMPARED

from .world import World, count

GIB = 2**30
EXTERNAL: dict[str, Any] = {"backend": "external", "endpoints": ["http://10.0.0.9:1"]}

memory = st.none() | st.integers(-5, 70)
shares = st.lists(st.integers(1, 9), max_size=3).map(lambda each: tuple(sorted(each, reverse=True)))
frees = st.builds(Free, st.integers(0, 3), memory, st.none() | st.integers(-1, 2), shares)
needs = st.one_of(
    st.builds(Need, st.integers(0, 3), st.integers(0, 70), st.integers(0, 1)),
    st.builds(Need, st.integers(1, 3), st.integers(0, 70), st.integers(0, 1), st.integers(1, 9)),
)


def taken(world: World) -> tuple[int, int]:
    """Return the slots and the memory that replicas have on worker a."""
    needs = [replica.need for replica in world.picture.fleet.nodes["a"].replicas.values()]
    return sum(need.slots for need in needs), sum(need.memory for need in needs)


def waits(world: World, name: str) -> bool:
    return world.picture.catalogue.by_id[f"{name}:command"].wait is not None


def test_no_more_engines_run_than_a_worker_has_slots_and_who_waits_comes_when_one_has_ended() -> None:
    world = World()
    machine = world.worker("a", gpus=0, slots=2)
    first = world.deploy("m1")
    world.deploy("m2")
    world.deploy("m3")
    assert [waits(world, name) for name in ("m1", "m2", "m3")] == [False, False, True]
    assert len(machine.running) == 2
    machine.slow = True
    world.delete(first)
    assert waits(world, "m3"), "what drains has its slot still"
    world.end("a")
    assert world.where("m3:command") == {"a": 1}
    assert world.audit() == []


def test_a_server_of_somebody_else_takes_no_slot() -> None:
    world = World()
    world.worker("a", gpus=0, slots=1)
    world.deploy("m1")
    world.deploy("m2", **EXTERNAL)
    assert world.where("m2:external") == {"a": 1}
    world.restart_head()
    assert taken(world) == (1, 0)


def test_an_engine_goes_where_a_slot_is_free_and_workers_without_one_are_not_looked_at() -> None:
    world = World()
    for index in range(3):
        world.worker(f"full{index}", gpus=0, slots=1)
    world.deploy("m", **count(3))
    world.worker("free", gpus=0, slots=1)
    world.deploy("late")
    assert world.where("late:command") == {"free": 1}
    assert list(world.picture.fleet.room.with_room(Need(slots=1), Need(slots=1))) == []
    assert len(list(world.picture.fleet.room.with_room(NOTHING, NOTHING))) == 4


def test_a_worker_that_gets_more_slots_takes_those_that_wait() -> None:
    world = World()
    machine = world.worker("a", gpus=0, slots=1)
    world.deploy("m1")
    world.deploy("m2")
    assert waits(world, "m2")
    more = World().worker("a", gpus=0, slots=2)
    machine.inventory = more.inventory
    world.inventory("a")
    assert not waits(world, "m2")


def test_engines_have_together_no_more_memory_than_the_budget() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=4 * GIB)
    first = world.deploy("m1", memory="1.5GiB")
    world.deploy("m2", memory=str(2 * GIB))
    world.deploy("m3", memory=GIB)
    world.deploy("small", memory="512 MiB")
    assert [waits(world, name) for name in ("m1", "m2", "m3", "small")] == [False, False, True, False]
    world.delete(first)
    assert not waits(world, "m3")
    assert world.audit() == []


def test_a_replica_takes_what_is_declared_now_also_after_the_head_was_started_again() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=4 * GIB)
    known = world.deploy("m", memory=3 * GIB)
    world.deploy("late", memory=2 * GIB)
    assert waits(world, "late")
    world.update(known, memory=2 * GIB)
    assert world.where("m:command") == {"a": 1}, "its engine goes on"
    assert len(world.picture.catalogue.by_id["m:command"].revisions) == 1
    world.wait(31)
    assert not waits(world, "late")
    world.restart_head()
    assert taken(world) == (2, 4 * GIB)
    world.lose_store()
    world.wait(11)
    assert taken(world) == (2, 4 * GIB)


def test_what_was_measured_is_reckoned_with_where_nothing_is_declared() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=4 * GIB)
    known = world.deploy("m", **count(2))
    declared = world.deploy("declared", memory=GIB)
    world.ready()
    assert taken(world) == (3, GIB)
    key = min(known.replicas)
    fingerprint = known.revisions[1].fingerprint
    world.say("a", key, ReplicaState.READY, memory=GIB)
    world.say("a", min(declared.replicas), ReplicaState.READY, memory=3 * GIB)
    assert taken(world) == (3, 3 * GIB)
    world.say("a", key, ReplicaState.READY, memory=GIB + 1)
    assert world.picture.catalogue.peaks.memory(fingerprint) == GIB, "that is no news"
    world.restart_head()
    assert taken(world) == (3, 3 * GIB)
    world.update(known, **count(3))
    assert taken(world) == (4, 4 * GIB)
    assert world.audit() == []


def test_without_gpus_a_replica_takes_at_least_what_its_models_files_have() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=4 * GIB)
    world.worker("b", gpus=1, memory_budget=GIB)
    known = world.deploy("m", **count(0))
    world.deploy("n", memory=2 * GIB, pinned=True)
    world.picture.take_size(known.spec, 3 * GIB, 0.0)
    world.wait(1)
    world.restart_head()
    known = world.picture.catalogue.by_id[known.id]
    world.want(known.id, held=1)
    assert waits(world, "m"), "nobody has measured it, but it is too large for what is left"
    world.delete(world.picture.catalogue.by_id["n:command"])
    assert taken(world) == (1, 3 * GIB)
    (key,) = known.replicas
    world.say("a", key, ReplicaState.STARTING, memory=GIB)
    assert taken(world) == (1, 3 * GIB), "it has not loaded all of them yet"
    world.say("a", key, ReplicaState.READY, memory=4 * GIB)
    assert taken(world) == (1, 4 * GIB)
    with_gpu = world.deploy("g", num_gpus=1)
    world.picture.take_size(with_gpu.spec, 3 * GIB, 0.0)
    assert world.where(with_gpu.id) == {"b": 1}
    assert with_gpu.need(with_gpu.revisions[1], 1).memory == 0, "the files go to the GPU"


def test_of_too_many_engines_the_one_measured_first_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peaks, "MOST_PEAKS", 2)
    known = Peaks()
    for number, name in enumerate("abca"):
        report = ReplicaReport(ReplicaKey("m:x", 1, 1).attempt(1), ReplicaState.READY, fingerprint=name)
        known.learn(evolve(report, memory=number + 1), 0.0)
    assert [known.memory(name) for name in "abc"] == [4, 0, 3]
    assert known.learn(ReplicaReport(ReplicaKey("m:x", 1, 1).attempt(1), ReplicaState.READY), 0.0) is None


def test_a_replica_goes_where_its_model_is_on_the_disk() -> None:
    world = World()
    model = CachedModel("hf:org/m", 4_000_000_000)
    for number in range(COMPARED + 2):
        world.worker(f"w{number:02}", gpus=0)
    world.worker("x", gpus=0, models=(model,))
    world.worker("y", gpus=0, models=(model,), slots=1)
    known = world.deploy("m", backend="llamacpp", source="hf:org/m")
    assert world.where(known.id) == {"x": 1}
    other = world.deploy("other", backend="llamacpp", source="hf:org/other")
    assert world.where(other.id) == {"w00": 1}
    for name in "xy":
        world.machines[name].inventory = evolve(world.machines[name].inventory, models=())
        world.inventory(name)
    assert world.picture.fleet.models.sizes("hf:org/m") == {}


def test_a_replica_goes_where_starts_of_its_engine_are_faster() -> None:
    world = World()
    world.workers("ab", gpus=0)
    known = world.deploy("m", **count(2))
    for key, replica in list(known.replicas.items()):
        took = 60.0 if replica.node == "a" else 3.0
        world.say(replica.node, key, ReplicaState.READY, started_in=took, starts=1)
    world.update(known, **count(1))
    third = world.picture.planner._place(known, known.revisions[1], world.now, {})
    assert third is not None
    assert third.id == "b"


def test_a_worker_on_which_many_engines_start_is_left_to_them() -> None:
    world = World(prompt=False)
    world.worker("a", gpus=8)
    world.worker("b", gpus=9)
    for number in range(4):
        world.deploy(f"m{number}", num_gpus=1)
    assert {name: len(machine.orders) for name, machine in world.machines.items()} == {"a": 3, "b": 1}


def test_only_a_worker_with_all_the_labels_is_chosen_and_one_that_gets_them_takes_those_that_wait() -> None:
    world = World()
    world.worker("a", gpus=0, labels={"zone": "a"})
    world.worker("b", gpus=0, labels={"zone": "b"})
    for number in range(FEW + 1):
        world.worker(f"c{number:02}", gpus=0, labels={"zone": "c"})
    for zone in ("b", "c"):
        world.deploy(f"in-{zone}", node_selector={"zone": zone}, **count(2))
    assert world.where("in-b:command") == {"b": 2}
    assert world.where("in-c:command") == {"c00": 1, "c01": 1}
    world.deploy("both", node_selector={"zone": "a", "disk": "fast"})
    assert waits(world, "both")
    world.machines["a"].inventory = Inventory(name="a", labels={"zone": "a", "disk": "fast"})
    world.inventory("a")
    assert world.where("both:command") == {"a": 1}


def test_labels_of_one_worker_may_go_while_another_has_them() -> None:
    index = LabelIndex()
    index.put("a", {"zone": "x", "disk": "fast"})
    index.put("b", {"zone": "x"})
    index.put("a", {"disk": "slow"})
    assert list(index.fewest({"zone": "x"})) == ["b"]
    assert index.missing({"disk": "fast"}) == ("disk", "fast")
    index.put("a", {})
    assert index.missing({"disk": "slow"}) == ("disk", "slow")


def test_a_worker_whose_memory_would_do_is_passed_over_if_its_gpus_have_no_share() -> None:
    index = RoomIndex()
    for name, share in (("small", 5), ("large", 7)):
        index.put(name, has_gpus=True, free=Free(memory=100, shares=(share,)), load=0)
    need = Need(1, memory=90, gpu_memory=6)
    assert list(index.with_room(need, need)) == ["large"]


def test_what_a_stranger_was_seen_to_have_is_kept_for_when_it_is_known() -> None:
    world = World()
    world.worker("a", gpus=0)
    stranger = ReplicaKey("other:command", 1, 1, "another-uid")
    world.say("a", stranger, ReplicaState.STARTING, fingerprint="f", starts=1)
    world.say("a", stranger, ReplicaState.READY, fingerprint="f", memory=GIB, started_in=2.0, starts=1)
    assert world.picture.catalogue.peaks.memory("f") == GIB
    assert {kind for _, _, kind in world.store.measured} == {"memory", "stopped"}


def test_a_replica_of_a_revision_that_is_gone_takes_what_it_took() -> None:
    world = World()
    world.worker("a", gpus=0, memory_budget=8 * GIB)
    known = world.deploy("m", memory=GIB)
    old = ReplicaKey(known.id, 9, 9, known.uid)
    world.machines["a"].slow = True
    world.say("a", old, ReplicaState.DRAINING, memory=2 * GIB)
    assert taken(world) == (2, 3 * GIB)
    world.update(known, memory=3 * GIB)
    assert taken(world) == (2, 5 * GIB)


def test_whether_one_fits_without_others_is_told_of_every_figure() -> None:
    world = World()
    world.worker("a", gpus=2, slots=2)
    world.deploy("m1", num_gpus=1)
    world.deploy("m2", num_gpus=1)
    node = world.picture.fleet.nodes["a"]
    both = list(node.replicas.values())
    assert not fits_without(node, Need(slots=1), [])
    assert fits_without(node, Need(1, slots=1), both[:1])
    assert not fits_without(node, Need(2, slots=1), both[:1])
    assert fits_without(node, Need(2, slots=1), both)
    assert not fits_without(node, Need(3, slots=1), both)
    node.inventory = None
    assert not fits_without(node, NOTHING, both)


@given(frees, needs, needs)
def test_what_fits_together_fits_one_after_the_other(free: Free, one: Need, other: Need) -> None:
    if free.fits(one) and free.without(one).fits(other):
        assert free.fits(other)
        left = free.without(one).without(other)
        assert left.gpus >= 0
        assert (left.slots is None) == (free.slots is None)
        assert sum(left.shares) <= sum(free.shares)


@given(st.lists(st.tuples(st.booleans(), frees, st.integers(0, 2)), max_size=12), needs, needs)
def test_the_index_finds_exactly_the_workers_with_room(
    workers: list[tuple[bool, Free, int]], need: Need, need_without: Need
) -> None:
    index = RoomIndex()
    for number, (has_gpus, free, load) in enumerate(workers):
        index.put(f"w{number}", has_gpus=has_gpus, free=free, load=load)
    found = list(index.with_room(need, need_without))
    fit = {
        f"w{number}"
        for number, (has_gpus, free, _) in enumerate(workers)
        if free.fits(need if has_gpus else need_without)
    }
    assert set(found) == fit
    assert len(found) == len(fit)
    best = index.best(need, need_without, {}, lambda _: True)
    assert best == (found[0] if found else None)
    names = [f"w{number}" for number in range(len(workers))]
    assert index.best(need, need_without, {}, lambda _: True, ["unknown", *names]) == best
    same = {name: number % 2 for number, name in enumerate(names)}
    every = index.candidates(need, need_without, same, lambda _: True, 99)
    assert every == sorted(found, key=lambda name: same[name])
    assert index.candidates(need, need_without, same, lambda _: True, 2) == every[:2]
    for number in range(len(workers)):
        index.remove(f"w{number}")
    assert list(index.roomiest()) == []


def test_of_workers_with_memory_enough_the_least_loaded_is_best_and_the_tightest_is_last() -> None:
    index = RoomIndex()
    for name, free, load in (("tight", 90, 0), ("tighter", 80, 0), ("roomy", 600, 3), ("roomier", 2000, 1)):
        index.put(name, has_gpus=False, free=Free(memory=free), load=load)
    index.put("unlimited", has_gpus=False, free=Free(), load=2)
    need = Need(memory=70)
    assert list(index.with_room(need, need)) == ["roomier", "unlimited", "roomy", "tight", "tighter"]


@given(st.lists(needs, max_size=10), frees)
def test_those_that_are_tried_for_room_all_fit_there_together(waiting: list[Need], free: Free) -> None:
    queues = WaitingQueues()
    for number, need in enumerate(waiting):
        queues.add(f"u{number}", need)
    tried = list(queues.for_room(free, lambda _: True))
    left = free
    for uid in tried:
        assert left.fits(waiting[int(uid[1:])])
        left = left.without(waiting[int(uid[1:])])
    for number, need in enumerate(waiting):
        assert f"u{number}" in tried or not left.fits(need), "one is left behind that would have fitted too"


def test_a_need_that_hardly_changes_keeps_its_place_in_the_queue() -> None:
    queues = WaitingQueues()
    queues.add("a", Need(memory=100, slots=1))
    queues.add("b", Need(memory=100, slots=1))
    queues.add("a", Need(memory=120, slots=1))
    assert list(queues.for_room(Free(memory=130, slots=1), lambda _: True)) == ["a"]
    queues.add("a", Need(memory=1000, slots=1))
    assert list(queues.for_room(Free(memory=130, slots=1), lambda _: True)) == ["b"]


def test_nothing_fits_on_a_worker_that_has_not_said_what_it_has() -> None:
    assert not fits_without(KnownNode("a", "worker", 0.0), Need(), ())


def test_a_share_of_a_worker_is_that_of_what_is_taken_most_of() -> None:
    free = Free(4, 1000, 2, (80, 80, 80, 80))
    assert share_of(Need(gpus=1), free) == 0.25
    assert share_of(Need(gpus=1, gpu_memory=40), free) == 0.125
    assert share_of(Need(gpus=1, memory=900), free) == 0.9
    assert share_of(Need(slots=1), free) == 0.5
    assert share_of(Need(gpus=8), free) == 1.0
    assert share_of(Need(memory=5, slots=1), Free()) == 0.001


def test_of_machines_without_a_budget_only_those_are_found_that_have_as_much_memory_at_all() -> None:
    index = RoomIndex()
    for name, total in (("small", 10), ("large", 1000), ("unknown", None)):
        index.put(name, has_gpus=False, free=Free(total=total), load=0)
    for memory, found in (
        (0, {"small", "large", "unknown"}),
        (11, {"large", "unknown"}),
        (1001, {"unknown"}),
    ):
        need = Need(memory=memory, slots=1)
        assert set(index.with_room(need, need)) == found
        assert set(index.of(["small", "large", "unknown"], need, need)) == found
    assert Free(memory=5, total=3).without(Need(memory=1)) == Free(memory=4, total=3)
