"""``gpu_memory: auto``: how much of a GPU a replica takes, and what follows when more is known."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.room.figures import KnownFigures
from sllm_actors.serving.picture.room.gpu_memory import (
    BESIDE,
    LONG,
    MOST_RAISED,
    STEP,
    Seen,
    estimate,
    raised,
)
from sllm_actors.serving.picture.room.peaks import MOST_PEAKS

from .world import World, spec_of

GIB = 2**30
SMALL = GpuFigures(weights=GIB, token=32 * 1024, context=4096)
"""A model that takes 4.1 GiB for 8 requests, and 3.2 GiB for one."""


def learned_in(world: World, known: Deployment, figures: GpuFigures) -> None:
    world.picture.take_figures(known.spec, figures, 0.0)


def shares(world: World, node: str = "a") -> list[int]:
    """Return what each replica on a worker was ordered to have of its GPU; 0 for all of it."""
    orders = world.machines[node].orders.values()
    return sorted(each.run.gpu_memory for each in orders if each.run is not None)


def with_a_gpu(world: World, gib: int, name: str = "a") -> None:
    """Add a worker with one GPU of a known size."""
    machine = world.worker(name, gpus=1)
    machine.inventory = Inventory(name=name, gpus=(Gpu(f"{name}-0", memory_total=gib * GIB),))
    world.inventory(name)


# ---- the estimate


@pytest.mark.parametrize(
    ("figures", "target", "cache"),
    [
        (SMALL, 1, (1, 4096)),
        (SMALL, 8, (8, 4096)),
        (evolve(SMALL, context=131072), 8, (1, 131072)),
        (evolve(SMALL, context=131072), 32, (32, LONG)),
        (evolve(SMALL, context=0), 8, (0, 0)),
        (evolve(SMALL, token=0), 8, (0, 0)),
    ],
)
def test_the_cache_has_room_for_the_requests_that_are_wanted_or_one_long_one(
    figures: GpuFigures, target: int, cache: tuple[int, int]
) -> None:
    found = estimate(figures, target, Seen())
    assert (found.requests, found.tokens) == cache
    room = figures.weights if cache == (0, 0) else cache[0] * cache[1] * figures.token
    assert found.cache == room
    assert 0 <= found.memory - (figures.weights + BESIDE + figures.weights // 10 + room) < STEP


def test_what_it_is_made_of_is_told() -> None:
    beside = "1.1 GB for weights + 2.3 GB beside them"
    assert estimate(SMALL, 8, Seen()).sentence == f"{beside} + 134 MB for each of 8 requests of 4096 tokens"
    one = f"{beside} + 134 MB for each of 1 request of 4096 tokens"
    assert estimate(SMALL, 1, Seen()).sentence == one
    untold = f"{beside} + 1.1 GB for the KV cache, of which the model says nothing"
    assert estimate(GpuFigures(GIB), 8, Seen()).sentence == untold
    seen = estimate(SMALL, 1, Seen(used=2 * GIB, least=8 * GIB))
    assert seen.sentence == (
        "1.1 GB for weights + 1.3 GB beside them (measured) + 134 MB for each of 1 request of 4096 tokens,"
        " and more since that did not suffice"
    )
    assert seen.memory == 8 * GIB


def test_what_an_engine_was_seen_to_need_goes_before_what_is_supposed() -> None:
    before = estimate(SMALL, 8, Seen())
    less, more = (estimate(SMALL, 8, Seen(used=used)).memory for used in (GIB // 2, 8 * GIB))
    assert less < before.memory < more


def test_what_did_not_suffice_is_raised_within_a_bound() -> None:
    before = estimate(SMALL, 8, Seen())
    more = raised(before, before.memory, GIB)
    assert before.memory + GIB <= more < before.memory + GIB + STEP
    most = raised(before, before.memory, 10**15)
    assert most <= before.memory * MOST_RAISED
    assert raised(estimate(SMALL, 8, Seen(least=most)), most, GIB) == 0
    assert raised(before, GIB, GIB) == 0, "more than that is estimated already"


sizes = st.builds(GpuFigures, st.integers(1, 2**40), st.integers(0, 2**24), st.integers(0, 2**24))


@given(sizes, st.integers(1, 1000), st.integers(0, 2**30), st.integers(0, 2**20), st.integers(0, 100))
def test_it_never_falls_when_weights_context_or_target_rise(
    figures: GpuFigures, target: int, weights: int, context: int, more: int
) -> None:
    before = estimate(figures, target, Seen()).memory
    assert estimate(figures, target + more, Seen()).memory >= before
    assert estimate(evolve(figures, weights=figures.weights + weights), target, Seen()).memory >= before
    if figures.context and figures.token:
        longer = evolve(figures, context=figures.context + context)
        assert estimate(longer, target, Seen()).memory >= before


def test_what_is_known_of_too_many_engines_is_forgotten() -> None:
    known = KnownFigures()
    assert known.learn("", SMALL, 0.0) == []
    for number in range(MOST_PEAKS + 1):
        known.learn(f"e{number}", SMALL, 0.0)
    assert known.of("e0") is None
    assert known.of("e1") == SMALL
    assert known.learn("e1", SMALL, 0.0) == []


# ---- what follows


def test_it_takes_whole_gpus_until_its_files_were_seen_and_then_a_share() -> None:
    world = World()
    with_a_gpu(world, 16)
    known = world.deploy("m", backend="vllm", gpu_memory="auto", auto_scaling_config={"max_instances": 2})
    assert shares(world) == [0]
    (key,) = known.replicas
    other = world.deploy("n", backend="vllm", gpu_memory="1GiB")
    assert other.wait is not None
    world.say("a", key, ReplicaState.READY, gpu_figures=SMALL)
    assert shares(world) == [0], "what runs goes on as it is"
    world.machines["a"].running.pop(key)
    world.link("a", new_life=True)
    assert known.revisions.keys() == {1}


def test_what_was_seen_at_the_deployment_is_what_the_first_one_gets() -> None:
    world = World()
    with_a_gpu(world, 16)
    document = {"backend": "vllm", "gpu_memory": "auto"}
    world.picture.take_figures(spec_of("m", **document), SMALL, 0.0)
    world.deploy("m", **document)
    wanted = estimate(SMALL, 8, Seen()).memory
    assert shares(world) == [wanted]
    node = world.picture.fleet.nodes["a"]
    assert node.free.shares == (16 * GIB - wanted,)


def test_declared_and_estimated_shares_have_a_gpu_together_and_the_next_one_waits() -> None:
    world = World()
    known = [world.deploy(f"m{n}", backend="vllm", gpu_memory="auto") for n in range(3)]
    for each in known:
        learned_in(world, each, SMALL)
    world.deploy("declared", backend="vllm", gpu_memory="3GiB", priority=1)
    with_a_gpu(world, 12)
    assert [bool(each.wait) for each in known] == [False, False, True]
    assert sum(shares(world)) <= 12 * GIB
    world.update(known[2], backend="vllm", gpu_memory=GIB // 2)
    assert known[2].wait is None, "a declared number wins"


def test_a_better_estimate_neither_restarts_what_runs_nor_makes_a_revision() -> None:
    world = World()
    known = world.deploy("m", backend="vllm", gpu_memory="auto", auto_scaling_config={"min_instances": 1})
    learned_in(world, known, SMALL)
    with_a_gpu(world, 32)
    (key,) = known.replicas
    (before,) = shares(world)
    world.say("a", key, ReplicaState.READY, devices=("a-0",), gpu_reserved=before)
    learned_in(world, known, evolve(SMALL, weights=4 * GIB))
    more = {"min_instances": 2, "max_instances": 2, "target": 16}
    world.update(known, backend="vllm", gpu_memory="auto", auto_scaling_config=more)
    assert known.revisions.keys() == {1}
    assert key in known.replicas
    first, second = shares(world)
    assert first == before < second
    world.restart_head()
    assert shares(world) == [first, second], "the next head takes both as they are"
    assert world.audit() == []
    world.lose_store()
    world.wait(11)
    assert shares(world) == [first, second], "and so does one without a store"


def test_a_target_of_its_own_is_reckoned_with_for_what_starts_next() -> None:
    world = World()
    known = world.deploy("m", backend="vllm", gpu_memory="auto")
    learned_in(world, known, SMALL)
    revision = known.revisions[1]
    few = known.need(revision, 1).gpu_memory
    world.update(known, backend="vllm", gpu_memory="auto", auto_scaling_config={"target": 32})
    assert known.need(revision, 1).gpu_memory > few
    assert known.need(revision, 0).gpu_memory == 0, "on a CPU there is none to share"


def test_one_that_lacked_memory_starts_anew_with_more_until_that_has_another_cause() -> None:
    world = World()
    known = world.deploy("m", backend="vllm", gpu_memory="auto")
    learned_in(world, known, SMALL)
    with_a_gpu(world, 64)
    first = estimate(SMALL, 8, Seen()).memory
    had = []
    for _ in range(8):
        (key,) = (each.key for each in known.running())
        had += shares(world)
        world.say("a", key, ReplicaState.FAILED, failures=1, reason="no memory", gpu_lacked=GIB)
    assert had[0] == first
    assert had[1] - had[0] >= GIB
    assert had == sorted(had)
    assert had[-1] == had[-2] <= first * MOST_RAISED, "then it fails as any other does"
    assert known.revisions.keys() == {1}
    reasons = [each.sentence for each in world.journal if each.kind == "replica.stopped"]
    assert reasons[0].endswith("it did not start with 4.4 GB of each GPU: the next one gets 5.5 GB")
    world.restart_head()
    assert known.need(known.revisions[1], 1).gpu_memory == had[-1]
    again = world.picture.catalogue.by_id["m:vllm"]
    assert again.need(again.revisions[1], 1).gpu_memory == had[-1], "it is remembered"


def test_of_one_that_has_whole_gpus_or_a_declared_share_the_failure_is_as_any() -> None:
    world = World()
    world.worker("a", gpus=2)
    for name, more in (("whole", {}), ("unseen", {"gpu_memory": "auto"})):
        known = world.deploy(name, backend="vllm", **more)
        (key,) = known.replicas
        world.say("a", key, ReplicaState.FAILED, failures=1, gpu_lacked=GIB)
        assert list(known.replicas) == [key]


def test_what_an_engine_needs_beside_its_cache_is_learned_from_what_it_says() -> None:
    world = World()
    known = world.deploy("m", backend="vllm", gpu_memory="auto")
    learned_in(world, known, SMALL)
    with_a_gpu(world, 64)
    (key,) = known.replicas
    before = shares(world)
    world.say("a", key, ReplicaState.READY, fingerprint=known.revisions[1].fingerprint, gpu_used=2 * GIB)
    wanted = estimate(SMALL, 8, Seen(used=2 * GIB)).memory
    assert known.need(known.revisions[1], 1).gpu_memory == wanted < before[0]
    assert shares(world) == before
    world.say("a", key, ReplicaState.READY, gpu_used=2 * GIB + 1)
    assert known.need(known.revisions[1], 1).gpu_memory == wanted, "that is no news"


documents = st.lists(
    st.one_of(
        st.just({"gpu_memory": "auto"}),
        st.integers(1, 8).map(lambda gib: {"gpu_memory": f"{gib}GiB"}),
        st.just({}),
        st.just({"gpu_memory": "auto", "num_gpus": 2}),
    ),
    max_size=6,
)


@given(documents, st.integers(1, 12), st.integers(1, 16), st.integers(1, 16))
def test_no_gpu_is_ever_promised_twice(
    wanted: list[dict[str, Any]], weights: int, first: int, second: int
) -> None:
    world = World()
    machine = world.worker("a", gpus=0)
    gpus = (Gpu("g0", memory_total=first * GIB), Gpu("g1", memory_total=second * GIB))
    machine.inventory = Inventory(name="a", gpus=gpus)
    known = []
    for number, document in enumerate(wanted):
        known.append(world.deploy(f"m{number}", backend="vllm", **document))
        learned_in(world, known[-1], evolve(SMALL, weights=weights * GIB // 4))
    world.inventory("a")
    node = world.picture.fleet.nodes["a"]
    whole = sum(each.need.gpus for each in node.replicas.values() if not each.need.gpu_memory)
    shared = sum(each.need.gpus * each.need.gpu_memory for each in node.replicas.values())
    assert shared + sum(node.free.shares) <= (first + second) * GIB
    assert whole + node.free.gpus <= 2
    for each in known:
        if each.wait is not None:
            assert not node.free.fits(each.need(each.revisions[1], 2))
