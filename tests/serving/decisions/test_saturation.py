"""Engines that are full need another one beside them, and none is taken away that the others could miss."""

from __future__ import annotations

from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.saturation import FULL_WAITING, Gauges, enough, why
from sllm_actors.serving.decisions.scaling import Counts, Scaler, ScalingPolicy, decide

MANY = ScalingPolicy(target=100, most=4, scale_down_delay=30.0, keep_alive=60.0)
GAUGES = st.builds(Gauges, st.integers(0, FULL_WAITING), st.integers(0, 20).map(lambda step: 5 * step))


@pytest.mark.parametrize(
    ("serving", "replicas"),
    [
        ([], 0),
        ([Gauges()], 1),
        ([Gauges(), Gauges(), Gauges()], 1),
        ([Gauges(kv=70)], 1),
        ([Gauges(kv=75)], 2),
        ([Gauges(waiting=2)], 1),
        ([Gauges(waiting=3)], 2),
        ([Gauges(kv=100), Gauges(5, 100)], 3),
        ([Gauges(kv=100), Gauges(kv=10)], 2),
        ([Gauges(kv=35), Gauges(kv=35)], 1),
        ([Gauges(kv=40), Gauges(kv=35)], 2),
        ([Gauges(waiting=1), Gauges(waiting=1), Gauges()], 1),
        ([Gauges(kv=75), Gauges(kv=60)], 2),
    ],
)
def test_so_many_are_enough(serving: list[Gauges], replicas: int) -> None:
    assert enough(serving) == replicas


@given(st.lists(GAUGES, min_size=1, max_size=8))
def test_it_is_one_more_at_most_and_one_that_is_full_is_not_left_with_fewer(serving: list[Gauges]) -> None:
    replicas = enough(serving)
    assert 1 <= replicas <= len(serving) + 1
    if any(each.saturated for each in serving):
        assert replicas >= len(serving)
    if all(each.saturated for each in serving):
        assert replicas == len(serving) + 1
    if replicas <= len(serving) and not any(each.saturated for each in serving):
        kv, waiting = sum(each.kv for each in serving), sum(each.waiting for each in serving)
        after = Gauges(-(-waiting // replicas), -(-kv // replicas))
        assert not after.saturated, "those that are left could have all of it"
    assert enough(serving[::-1]) == replicas
    assert enough([*serving, Gauges()]) <= replicas + 1


@given(st.lists(GAUGES, min_size=1, max_size=5), st.integers(0, 4), GAUGES)
def test_fuller_engines_that_are_not_saturated_never_need_fewer(
    serving: list[Gauges], which: int, more: Gauges
) -> None:
    calm = [each for each in serving if not each.saturated]
    if which < len(calm):
        fuller = Gauges(max(calm[which].waiting, more.waiting), max(calm[which].kv, more.kv))
        if not fuller.saturated:
            assert enough([*calm[:which], fuller, *calm[which + 1 :]]) >= enough(calm)


def test_a_person_reads_which_of_them_are_full() -> None:
    assert why([Gauges(5, 85), Gauges(1, 90)]) == (
        "its engines are full: 5 or more requests waited inside one and 90 % of the room for KV caches of one"
        " was taken in the last minute"
    )
    assert why([Gauges(1)]) == "its engines are full: 1 request waited inside one in the last minute"
    assert why([Gauges(3)]) == "its engines are full: 3 requests waited inside one in the last minute"
    assert "waited" not in why([Gauges(kv=75)])


def decided(wanted: int, counts: Counts, requests: int = 3, policy: ScalingPolicy = MANY) -> list[int]:
    """Return how many replicas are wanted at the times at which that may change, in 200 s."""
    scaler, now = Scaler(), 0.0
    scaler.take(requests, 1, None, now)
    found = [wanted]
    while now <= 200.0:
        decision = decide(scaler, found[-1], counts, policy, now)
        found.append(decision.wanted)
        if decision.due is None:
            break
        assert decision.due > now
        now = decision.due
    return [found[0], *(after for before, after in pairwise(found) if after != before)]


FULL, EMPTY = Gauges(5, 90), Gauges()


def test_one_is_added_though_a_few_requests_are_far_below_the_target() -> None:
    scaler = Scaler()
    scaler.take(3, 1, None, 0.0)
    decision = decide(scaler, 1, Counts(1, gauges=(FULL,)), MANY, 0.0)
    assert (decision.wanted, decision.needed, decision.reason) == (2, 2, why([FULL]))


def test_while_one_starts_none_is_added_and_never_more_than_the_most() -> None:
    assert decided(2, Counts(1, starting=1, gauges=(FULL,))) == [2]
    assert decided(2, Counts(1, stuck=1, gauges=(FULL,))) == [2, 3]
    assert decided(4, Counts(4, gauges=(FULL,) * 4)) == [4]
    assert decided(1, Counts(1, gauges=(FULL,)), policy=evolve(MANY, most=1)) == [1]


def test_those_that_the_others_could_not_miss_stay_though_their_requests_are_few() -> None:
    assert decided(2, Counts(2, gauges=(Gauges(kv=60), Gauges(kv=15)))) == [2]
    assert decided(2, Counts(2, gauges=(Gauges(kv=40), Gauges(kv=15)))) == [2, 1]
    assert decided(2, Counts(2, gauges=(FULL, EMPTY))) == [2]


def test_without_a_request_nothing_is_full() -> None:
    assert decided(2, Counts(2, gauges=(FULL, FULL)), requests=0) == [2, 1, 0]
