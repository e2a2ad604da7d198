"""Circuit breakers: alone, and as the balancer uses them."""

from __future__ import annotations

import pytest
from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Bench, Request

from sllm_actors.gateway.routing.asked import Outcome
from sllm_actors.gateway.routing.lines.circuit import (
    ENOUGH,
    FAILURES,
    MOST_PAUSE,
    PAUSE,
    WINDOW,
    Circuit,
    CircuitState,
)

BROKE, SERVED, LEFT = Outcome.BROKE, Outcome.SERVED, Outcome.LEFT


def test_so_many_failures_in_a_row_are_enough() -> None:
    circuit = Circuit()
    assert [circuit.broke(0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    circuit = Circuit()
    for _ in range(FAILURES - 1):
        circuit.broke(0.0)
    circuit.served(0.0)
    assert not circuit.broke(0.0), "one that was served lies between"


def test_half_of_enough_requests_are_enough_within_one_window() -> None:
    circuit = Circuit()
    for _ in range(ENOUGH // 2 - 1):
        circuit.served(0.0)
        assert not circuit.broke(0.0)
    circuit.served(0.0)
    assert circuit.broke(0.0)
    for _ in range(ENOUGH // 2):
        circuit.served(1.0)
    assert not circuit.broke(WINDOW + 1.0), "those before the window count no more"


def test_a_circuit_that_opens_again_soon_stays_open_longer() -> None:
    circuit, now, pauses = Circuit(), 100.0, []
    for _ in range(6):
        circuit.open(now)
        pauses.append(circuit.until - now)
        now = circuit.until
        circuit.half_open()
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE, MOST_PAUSE, MOST_PAUSE]
    circuit.close(now)
    circuit.open(now + MOST_PAUSE / 2)
    assert circuit.until == now + 1.5 * MOST_PAUSE
    circuit.close(now)
    circuit.open(now + MOST_PAUSE)
    assert circuit.until == now + MOST_PAUSE + PAUSE, "long enough closed: it begins anew"


# ---- in the balancer


def state(bench: Bench, number: int) -> CircuitState:
    (place,) = [each for each in bench.balancer._lines[SMOL].ready if each.id.number == number]
    return place.circuit.state


def at(bench: Bench, number: int) -> Request:
    """Return a request that is under way at that replica."""
    others = frozenset(replica(number=each).id for each in range(1, 9) if each != number)
    return bench.taken(tried=others)


def break_replica(bench: Bench, number: int) -> None:
    for _ in range(FAILURES):
        bench.done(at(bench, number), BROKE)


def test_a_replica_that_breaks_again_and_again_gets_nothing_until_a_probe_was_served() -> None:
    bench = Bench()
    bench.replicas(0, 0)
    break_replica(bench, 1)
    assert {bench.taken().number for _ in range(8)} == {2}
    bench.wait(PAUSE)
    probe = at(bench, 1)
    assert {bench.taken().number for _ in range(8)} == {2}, "one probe at a time"
    bench.done(probe, LEFT)
    assert state(bench, 1) is CircuitState.HALF_OPEN, "that says nothing of the replica"
    bench.done(at(bench, 1), SERVED)
    assert {bench.taken().number for _ in range(16)} == {1}, "it has less to do"


def test_a_probe_that_breaks_opens_the_circuit_again_for_longer() -> None:
    bench = Bench()
    bench.replicas(0, 0)
    old = at(bench, 1)
    break_replica(bench, 1)
    bench.wait(PAUSE)
    bench.done(old, BROKE)
    assert state(bench, 1) is CircuitState.HALF_OPEN, "only the probe counts"
    bench.done(at(bench, 1), BROKE)
    bench.wait(2 * PAUSE - 0.1)
    assert state(bench, 1) is CircuitState.OPEN
    bench.wait(0.1)
    assert state(bench, 1) is CircuitState.HALF_OPEN


def test_a_replica_that_is_alone_goes_on_getting_requests() -> None:
    bench = Bench()
    bench.replicas(0)
    break_replica(bench, 1)
    break_replica(bench, 1)
    assert state(bench, 1) is CircuitState.CLOSED


def test_at_most_half_of_the_replicas_are_kept_from_requests_also_when_others_go() -> None:
    bench = Bench()
    bench.replicas(0, 0, 0, 0)
    for number in (1, 2, 3):
        break_replica(bench, number)
        bench.wait(0.1)
    assert [state(bench, number) for number in (1, 2, 3, 4)] == [
        CircuitState.OPEN,
        CircuitState.OPEN,
        CircuitState.CLOSED,
        CircuitState.CLOSED,
    ]
    bench.replicas(0, 0, 0)
    assert state(bench, 1) is CircuitState.CLOSED, "the one whose pause ends first"
    assert state(bench, 2) is CircuitState.OPEN
    bench.replicas(0)
    assert bench.taken().number == 1


def test_a_probe_that_is_under_way_when_its_circuit_closes_is_the_last_of_that_time() -> None:
    bench = Bench()
    bench.replicas(0, 0)
    break_replica(bench, 1)
    bench.wait(PAUSE)
    probe = at(bench, 1)
    bench.replicas(0)
    assert state(bench, 1) is CircuitState.CLOSED, "it is alone now"
    bench.done(probe, SERVED)
    bench.replicas(0, 0)
    break_replica(bench, 1)
    bench.wait(2 * PAUSE)
    assert at(bench, 1).number == 1


def test_one_that_waits_is_the_probe_when_the_others_are_full() -> None:
    bench = Bench()
    bench.replicas(1, 1)
    break_replica(bench, 1)
    bench.taken()
    waiting, behind = bench.held(), bench.held()
    bench.wait(PAUSE)
    assert waiting.number == 1
    bench.done(waiting, SERVED)
    assert behind.number == 1


def test_a_replica_that_is_full_when_its_pause_ends_is_tried_when_it_has_room() -> None:
    bench = Bench()
    bench.replicas(2, 0)
    busy = at(bench, 1)
    break_replica(bench, 1)
    bench.replicas(1, 0)
    bench.wait(PAUSE)
    assert {bench.taken().number for _ in range(4)} == {2}
    bench.done(busy)
    assert at(bench, 1).number == 1


@pytest.mark.parametrize("gone", [True, False])
def test_a_pause_that_ends_for_a_replica_that_is_gone_changes_nothing(*, gone: bool) -> None:
    bench = Bench()
    bench.replicas(0, 0)
    break_replica(bench, 1)
    if gone:
        bench.gone()
    else:
        bench.replicas(0)
    bench.wait(2 * PAUSE)
    assert bench.balancer.total == 0
