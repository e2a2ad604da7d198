"""Workers and the head are cut off from each other, in silence or not, for a moment or for long."""

from __future__ import annotations

import pytest
from tests.e2e.cluster import eventually

from .bed import Bed
from .network import needs_hosts
from .scenario import SILENT, scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]


def served_by(bed: Bed) -> str:
    """Return the name of a worker that has a replica."""
    return min(bed.replicas())


def is_replaced(bed: Bed, name: str) -> bool:
    """Return whether two replicas are ready on other workers."""
    states = bed.replicas()
    states.pop(name, "")
    return list(states.values()) == ["ready", "ready"]


def test_a_worker_that_is_cut_off_for_a_moment_keeps_its_engine(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        name = served_by(bed)
        fault.now()
        bed.network.cut([bed.host(name)], bed.others(name))
        fault.clients.wait_for_one_that_waits(1.0)
        bed.network.heal()
        fault.served()
    fault.only_streams_broke()
    assert bed.engines() == before


def test_a_worker_that_is_cut_off_for_long_is_replaced_and_one_too_many_ends_when_it_is_back(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    with scenario(request, bed) as fault:
        name = served_by(bed)
        fault.now()
        bed.network.cut([bed.host(name)], bed.others(name))
        fault.lost(name)
        eventually(lambda: is_replaced(bed, name), what="its replica is replaced")
        bed.network.heal()
        bed.wait_up(name)
        bed.wait_ready()
        fault.clients.wait_for_answers()
    fault.only_streams_broke()
    fault.missed_within(SILENT)


@pytest.mark.parametrize("direction", ["unheard", "deaf"])
def test_a_worker_that_is_cut_off_in_one_direction_is_missed_too(
    bed: Bed, request: pytest.FixtureRequest, direction: str
) -> None:
    with scenario(request, bed) as fault:
        name = served_by(bed)
        one, others = [bed.host(name)], bed.others(name)
        fault.now()
        if direction == "unheard":
            bed.network.cut_one_way(one, others)
        else:
            bed.network.cut_one_way(others, one)
        fault.lost(name)
        bed.network.heal()
        bed.wait_up(name)
    fault.only_streams_broke()
    fault.missed_within(SILENT)


def test_a_worker_whose_connections_are_refused_is_missed(bed: Bed, request: pytest.FixtureRequest) -> None:
    with scenario(request, bed) as fault:
        name = served_by(bed)
        fault.now()
        bed.network.refuse([bed.host(name)], bed.others(name))
        fault.lost(name)
        bed.network.heal()
        bed.wait_up(name)
    fault.only_streams_broke()
    fault.missed_within(SILENT)


def test_a_head_that_is_cut_off_from_all_workers_stops_and_replaces_nothing(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before, workers = bed.engines(), ("w1", "w2", "w3")
    with scenario(request, bed) as fault:
        fault.now()
        bed.network.cut([bed.host("head")], [bed.host(name) for name in workers])
        for name in workers:
            fault.seen("node.lost", name)
        fault.clients.wait_for_answers()
        bed.network.heal()
        for name in workers:
            bed.wait_up(name)
    fault.nothing_failed()
    fault.missed_within(SILENT)
    assert bed.engines() == before
