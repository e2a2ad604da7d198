"""Replicas that share the memory of GPUs, and one that has its GPU to itself, while machines break."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from tests.bench.played_gpu.held_memory import MIB, TOTAL
from tests.e2e.cluster import DEMO, eventually

from .bed import PLAYED_GPU, Bed, bed_of
from .engines import Engine, engines_of
from .host import DATA
from .network import needs_hosts
from .scenario import scenario
from .test_lost_head import lose_store

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

GPU_MEMORY = TOTAL * MIB

SHARES = {DEMO: 30_000 * MIB, "large": 50_000 * MIB}
"""What a replica has of a GPU: one of each fit one, and no two of the large ones."""

WHOLE = "whole"
"""The model whose replica shares its GPU with nobody."""

ONE = {"auto_scaling_config": {"min_instances": 1, "max_instances": 1}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Three machines with a GPU: one for a replica alone, one that two share and have full, one half full."""
    folder = tmp_path_factory.mktemp("hosts")
    with bed_of(folder, "head", "w1", "w2", "w3", "g1", gpu_memory=GPU_MEMORY) as bed:
        bed.deploy({"model": WHOLE, **ONE})
        bed.deploy({"gpu_memory": str(SHARES[DEMO])})
        bed.deploy({"model": "large", "gpu_memory": str(SHARES["large"]), **ONE})
        yield bed


@pytest.fixture
def bed(bed: Bed) -> Bed:
    for model in ("large", WHOLE):
        bed.wait_ready(count=1, model=model)
    return bed


def place(bed: Bed, model: str) -> str:
    """Return the worker of a model that has one replica."""
    (only,) = bed.describe(model=model)["instances"]
    found: str = only["node_name"]
    return found


def reserved(bed: Bed) -> dict[str, list[int]]:
    """Return what the engines on each worker's GPU have reserved, in bytes."""
    found = {name: engines for name, engines in engines_of(bed.network).items() if name in bed.names("w")}
    return {name: sorted(_only(each) for each in engines) for name, engines in found.items()}


def _only(engine: Engine) -> int:
    (found,) = engine.reserved.values()
    return found


def next_one(bed: Bed) -> None:
    """Deploy what no GPU has room for but the one that the exclusive engine has."""
    bed.submit({"model": "next", "gpu_memory": str(60_000 * MIB), **ONE})


def test_the_ledger_has_what_was_declared_and_a_whole_gpu_for_the_exclusive_engine(bed: Bed) -> None:
    found = [share for shares in reserved(bed).values() for share in shares]
    assert sorted(found) == sorted([SHARES[DEMO], SHARES[DEMO], SHARES["large"], GPU_MEMORY])
    assert reserved(bed)[place(bed, WHOLE)] == [GPU_MEMORY]


def test_a_machine_with_shares_is_cut_off_and_back(bed: Bed, request: pytest.FixtureRequest) -> None:
    name = place(bed, "large")
    (other,) = set(bed.names("w")) - {name, place(bed, WHOLE)}  # it has room for one of two more
    with scenario(request, bed) as fault:
        fault.now()
        bed.network.cut([bed.host(name)], bed.others(name))
        fault.seen("node.lost", name)
        fault.served()
        eventually(lambda: len(reserved(bed)[other]) == 2, what="one of its replicas is replaced there")
        bed.network.heal()
        bed.wait_up(name)
        bed.wait_ready()
        bed.wait_ready(count=1, model="large")
        fault.clients.wait_for_answers()
    fault.only_streams_broke()


def test_the_room_of_an_exclusive_engine_that_was_deleted_on_a_frozen_machine_is_taken_once_it_is_free(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    name = place(bed, WHOLE)
    with scenario(request, bed) as fault:
        fault.now()
        bed.host(name).freeze()
        fault.seen("node.lost", name)
        bed.delete(WHOLE)
        next_one(bed)
        bed.host(name).thaw()
        bed.wait_ready(count=1, model="next")
        assert place(bed, "next") == name
        bed.delete("next")
        bed.deploy({"model": WHOLE, **ONE})
        fault.clients.wait_for_answers()
    fault.nothing_failed()


def test_a_head_that_has_lost_its_store_gives_nobody_room_that_is_taken(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = reserved(bed)
    with scenario(request, bed) as fault:
        fault.at = bed.kill("head")
        fault.is_seen_by(lambda: not bed.status())
        lose_store(bed.host("head").path(DATA))
        bed.start("head")
        for name in bed.names("w"):
            bed.wait_up(name)
        next_one(bed)
        bed.wait_ready()
        for model in ("large", WHOLE):
            bed.wait_ready(count=1, model=model)
        assert bed.describe(model="next")["state"] == "pending"
        bed.delete("next")
        fault.clients.wait_for_answers()
    fault.nothing_failed()
    assert reserved(bed) == before


def test_two_workers_on_one_machine_have_one_ledger(bed: Bed, request: pytest.FixtureRequest) -> None:
    name = place(bed, WHOLE)
    host = bed.host(name)
    own = ("--name", "too", "--port", "8004", "--data-dir", "/tmp/too", "--fork-servers", "none")
    with scenario(request, bed) as fault:
        second = host.start("worker", *bed.joining(host), *own, env=PLAYED_GPU)
        try:
            bed.wait_up("too")
            next_one(bed)
            waits = "too little of worker too's 1 GPU is free"
            eventually(lambda: waits in bed.describe(model="next")["detail"], what="the second worker waits")
            assert place(bed, "next") == "too"
            bed.delete(WHOLE)
            bed.wait_ready(count=1, model="next")
            bed.submit({"model": WHOLE, **ONE})
            fault.clients.wait_for_answers()
            bed.delete("next")
            bed.wait_ready(count=1, model=WHOLE)
        finally:
            second.stop(number=signal.SIGTERM)
            second.kill_all()
        bed.wait_ready(count=1, model=WHOLE)
    fault.nothing_failed()
