"""Who has a contended place when all of it is in use."""

from __future__ import annotations

import heapq
import random

import pytest
from attrs import evolve

from sllm_actors.serving.decisions.swapping import (
    QUANTUM,
    RETURN,
    RETURN_SWAPS,
    STALENESS,
    STALENESS_SWAPS,
    Contender,
    Occupant,
    may_take_at,
    turn,
)


def contender(*, since: float = 100.0, held: int = 1, priority: int = 0, swap: float = 2.0) -> Contender:
    return Contender(since, held, priority, swap)


def test_what_serves_keeps_its_place_for_a_quantum() -> None:
    assert may_take_at(contender(swap=2.0), Occupant(95.0, 0)) == 95.0 + QUANTUM
    assert may_take_at(contender(swap=60.0), Occupant(95.0, 0)) >= 95.0 + 60.0, (
        "a long swap wants a long quantum"
    )


def test_a_higher_priority_takes_a_place_at_once_and_a_lower_one_only_once_it_is_stale() -> None:
    assert may_take_at(contender(priority=1), Occupant(99.0, 0)) <= 100.0
    assert may_take_at(contender(priority=-1), Occupant(95.0, 0)) == 100.0 + STALENESS
    late = 100.0 + STALENESS
    assert may_take_at(contender(priority=-1), Occupant(late, 0)) == late + QUANTUM


def test_a_swap_that_takes_long_makes_stale_later() -> None:
    assert contender(swap=60.0).stale_at == 100.0 + STALENESS_SWAPS * 60.0


def test_who_is_stale_comes_first_then_who_has_the_most_for_the_time_of_a_swap() -> None:
    old = contender(since=0.0, swap=10.0)
    older = contender(since=-5.0, swap=10.0)
    many, few, cheap = contender(held=9), contender(held=1), contender(held=1, swap=0.5)
    urgent = contender(held=1, priority=5)
    order = sorted([few, many, old, cheap, urgent, older], key=lambda each: turn(each, 110.0))
    assert order == [older, old, urgent, cheap, many, few]
    assert turn(contender(since=120.0), 110.0) == (*turn(contender(since=110.0), 110.0)[:3], 120.0)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_longer_than_the_quanta_and_swaps_of_all(seed: int) -> None:
    """One place, many deployments, more requests than it can take: the bound on waiting."""
    chance = random.Random(seed)
    names = range(chance.randint(2, 9))
    swap = {name: chance.choice([0.5, 2.0, 15.0]) for name in names}
    longest = 5.0
    bound = STALENESS + sum(max(QUANTUM, cost) + cost + longest for cost in swap.values())
    bound = max(bound, max(STALENESS_SWAPS * cost for cost in swap.values()) + bound - STALENESS)
    arrivals = [
        (chance.uniform(0, 1500), chance.choice([*names, 0, 0, 0]), chance.uniform(0.1, longest))
        for _ in range(1500)
    ]
    heapq.heapify(arrivals)
    held: dict[int, list[tuple[float, float]]] = {name: [] for name in names}
    now, has, ready_at, busy_until, waited = 0.0, 0, 0.0, 0.0, 0.0
    while arrivals or any(held.values()):
        while arrivals and arrivals[0][0] <= now:
            came, name, takes = heapq.heappop(arrivals)
            held[name].append((came, takes))
        if held[has]:  # as many at a time as there are
            waited = max(waited, *(now - came for came, _ in held[has]))
            busy_until = max(busy_until, now + max(takes for _, takes in held[has]))
            held[has].clear()
        waiting = {
            name: Contender(queue[0][0], len(queue), 0, swap[name]) for name, queue in held.items() if queue
        }
        if not waiting:
            now = max(now, arrivals[0][0]) if arrivals else now
            continue
        first = min(waiting, key=lambda name: turn(waiting[name], now))
        at = min(may_take_at(waiting[first], Occupant(ready_at, 0)), max(now, busy_until))
        if at > now:
            now = min(at, arrivals[0][0]) if arrivals else at
            continue
        now = ready_at = max(now, busy_until) + swap[first]
        has = first
    assert 0.0 < waited <= bound


def test_what_has_just_become_idle_is_left_alone_for_a_small_part_of_a_swap() -> None:
    def leaves(swap: float, **occupant: float) -> float:
        return may_take_at(contender(swap=swap), Occupant(99.0, 0, **occupant))

    assert leaves(2.0, rested_at=100.0) == 100.0 + RETURN_SWAPS * 2.0
    assert leaves(60.0, rested_at=100.0) == 100.0 + RETURN, "clients take no longer to ask again"
    assert leaves(2.0) == 99.0 + QUANTUM, "one that has requests is in use"
    urgent = contender(priority=1)
    assert may_take_at(urgent, Occupant(99.0, 0, rested_at=100.0)) == 99.0


@pytest.mark.parametrize("seed", range(20))
def test_that_it_is_left_alone_makes_nobody_wait_longer_than_while_it_is_in_use(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        asks = contender(
            since=chance.uniform(0, 100), priority=chance.randint(-1, 1), swap=chance.uniform(0, 99)
        )
        in_use = Occupant(chance.uniform(0, 100), chance.randint(-1, 1))
        rests = evolve(in_use, rested_at=chance.uniform(0, 150))
        assert may_take_at(asks, rests) <= may_take_at(asks, in_use)
        assert may_take_at(asks, rests) <= rests.rested_at + RETURN
