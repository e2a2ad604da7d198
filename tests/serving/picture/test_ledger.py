"""What workers have left of their GPUs: whole ones, shares, and what sleepers keep."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.room.fitting import fits_without
from sllm_actors.serving.picture.room.ledger import capacity, room_left, whole_capacity
from sllm_actors.serving.picture.room.need import Free, Need

from .world import World

GIB = 2**30


def gpus(*gib: int, stuck: int = 0) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"g{n}", memory_total=size * GIB, stuck=n < stuck) for n, size in enumerate(gib))


def replica(number: int, *, whole: int = 0, gib: float = 0, on: str = "", **report: Any) -> KnownReplica:
    """Return a replica with whole GPUs, or with a share of those that it is on."""
    key = ReplicaKey("m:vllm", 1, number, "u")
    need = Need(whole or max(1, len(on.split())), 0, 1, int(gib * GIB))
    known = KnownReplica(key, "a", need, Told.NOTHING, 0.0)
    if on or report:
        state = report.pop("state", ReplicaState.READY)
        said = ReplicaReport(key.attempt(1), state, devices=tuple(on.split()), gpu_reserved=need.gpu_memory)
        known.report = evolve(said, **report)
    return known


def left(inventory: Inventory, *replicas: KnownReplica) -> tuple[int, list[float]]:
    free = room_left(inventory, replicas)
    return free.gpus, [share / GIB for share in free.shares]


def test_an_engine_that_has_a_gpu_whole_leaves_nothing_of_it() -> None:
    two = Inventory(gpus=gpus(8, 16))
    assert left(two) == (2, [16, 8])
    assert left(two, replica(1, on="g1")) == (1, [8])
    assert left(two, replica(1, whole=2)) == (0, [])
    assert left(two, replica(1), replica(2), replica(3)) == (0, [])


def test_those_that_share_a_gpu_leave_what_they_do_not_have() -> None:
    two = Inventory(gpus=gpus(8, 16))
    assert left(two, replica(1, gib=3, on="g0")) == (1, [16, 5])
    assert left(two, replica(1, gib=3, on="g0"), replica(2, gib=5, on="g0")) == (1, [16])
    assert left(two, replica(1, gib=3, on="g0 g1")) == (0, [13, 5])


def test_one_that_has_not_said_yet_gets_the_gpu_with_the_least_room() -> None:
    two = Inventory(gpus=gpus(8, 16))
    assert left(two, replica(1, gib=6)) == (1, [16, 2])
    assert left(two, replica(2, gib=3), replica(1, gib=6)) == (0, [13, 2])
    assert left(two, replica(1, gib=9, on=""), replica(2, on="g0")) == (0, [7])


def test_a_sleeper_leaves_what_it_does_not_keep_also_to_one_that_wants_the_gpu_whole() -> None:
    one = Inventory(gpus=gpus(8))
    asleep: dict[str, Any] = {"state": ReplicaState.ASLEEP, "level": 1}
    assert left(one, replica(1, on="g0", **asleep, gpu_reserved=GIB)) == (1, [7])
    assert left(one, replica(1, on="g0", **asleep, gpu_reserved=5 * GIB)) == (0, [3])
    assert left(one, replica(1, on="g0", **asleep, gpu_reserved=0)) == (0, [])
    waking: dict[str, Any] = {"state": ReplicaState.ASLEEP, "level": None, "gpu_reserved": GIB}
    assert left(one, replica(1, on="g0", **waking)) == (0, [])


def test_gpus_that_are_stuck_gone_or_of_unknown_size_are_reckoned_so() -> None:
    assert left(Inventory(gpus=gpus(8, 8, stuck=1))) == (1, [8])
    assert whole_capacity(Inventory(gpus=gpus(8, 8, stuck=1))).gpus == 2
    assert left(Inventory(gpus=gpus(0, 0)), replica(1, on="g0")) == (1, [])
    assert left(Inventory(gpus=gpus(8)), replica(1, on="g7")) == (1, [8])


sizes = st.lists(st.integers(1, 8), min_size=1, max_size=4)
wanted = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 8)), max_size=8)


@given(sizes, wanted)
def test_those_that_are_placed_while_they_fit_never_have_more_than_there_is(
    gib: list[int], needs: list[tuple[int, int]]
) -> None:
    inventory = Inventory(gpus=gpus(*gib))
    placed: list[KnownReplica] = []
    for number, (count, share) in enumerate(needs):
        need = Need(count, gpu_memory=share * GIB)
        if room_left(inventory, placed).fits(need):
            placed.append(replica(number, whole=count, gib=share))
    whole = sum(each.need.gpus for each in placed if not each.need.gpu_memory)
    shared = sum(each.need.gpus * each.need.gpu_memory for each in placed)
    free = room_left(inventory, placed)
    assert whole <= len(gib)
    assert shared + sum(free.shares) <= sum(gib) * GIB
    assert free.gpus + whole <= len(gib)
    assert capacity(inventory) == room_left(inventory, ())


def test_replicas_share_a_gpu_and_the_next_one_waits_until_one_has_ended() -> None:
    world = World()
    machine = world.worker("a", gpus=1)
    machine.inventory = Inventory(name="a", gpus=gpus(8))
    world.inventory("a")
    known = [world.deploy(f"m{n}", num_gpus=1, gpu_memory="3GiB") for n in range(3)]
    assert [bool(each.wait) for each in known] == [False, False, True]
    whole = world.deploy("whole", num_gpus=1)
    assert whole.wait is not None
    node = world.picture.fleet.nodes["a"]
    first, second = node.replicas.values()
    assert not fits_without(node, Need(1, slots=1), [first])
    assert fits_without(node, Need(1, slots=1), [first, second])
    assert fits_without(node, Need(1, gpu_memory=5 * GIB), [first])
    orders = [order.run.gpu_memory for order in machine.orders.values() if order.run is not None]
    assert orders == [3 * GIB, 3 * GIB]
    world.delete(known[0])
    assert known[2].wait is None
    assert world.audit() == []


def test_what_a_worker_says_of_its_gpus_corrects_what_was_reckoned() -> None:
    world = World()
    world.worker("a", gpus=2)
    machine = world.machines["a"]
    machine.inventory = Inventory(name="a", gpus=gpus(8, 16))
    world.inventory("a")
    known = world.deploy("m", num_gpus=1, gpu_memory="3GiB")
    node = world.picture.fleet.nodes["a"]
    assert node.free == Free(1, shares=(16 * GIB, 5 * GIB))
    (key,) = known.replicas
    world.say("a", key, ReplicaState.STARTING, devices=("g1",), gpu_reserved=3 * GIB)
    assert node.free == Free(1, shares=(13 * GIB, 8 * GIB))
    assert world.audit() == []


def test_only_what_changes_the_room_of_a_worker_makes_it_reckon_anew() -> None:
    ready = replica(1, on="g0").held
    for state in (ReplicaState.STARTING, ReplicaState.FAILED, ReplicaState.DRAINING):
        assert replica(1, on="g0", state=state).held == ready, state
    for other in ({"on": "g1"}, {"state": ReplicaState.ASLEEP, "level": 1}, {"gpu_reserved": 1}):
        assert replica(1, **({"on": "g0"} | other)).held != ready, other
