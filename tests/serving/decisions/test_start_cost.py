"""What is known of how long replicas take to come back: measured, borrowed from other workers, or guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions import start_cost
from sllm_actors.serving.decisions.start_cost import UNKNOWN_START, Cost, CostKey, StartCosts, Tier

START = CostKey("llama", "w1", Tier.STOPPED)
WAKE = CostKey("llama", "w1", Tier.ASLEEP_1)


def test_a_new_measurement_counts_for_a_part() -> None:
    costs = StartCosts()
    assert costs.learn(START, 10.0) == Cost(START, 10.0)
    cost = costs.learn(START, 20.0)
    assert cost.seconds == pytest.approx(13.0)
    assert costs.measured(START) == costs.expected(START) == cost.seconds


def test_a_worker_where_nothing_was_measured_is_taken_to_be_like_the_others() -> None:
    costs = StartCosts()
    costs.learn(START, 10.0)
    costs.learn(CostKey("llama", "w2", Tier.STOPPED), 20.0)
    elsewhere = CostKey("llama", "w3", Tier.STOPPED)
    assert costs.measured(elsewhere) is None
    assert costs.expected(elsewhere) == costs.known("llama", Tier.STOPPED) == 15.0
    assert costs.known("other", Tier.STOPPED) is None


def test_what_was_never_measured_is_guessed_the_deeper_the_dearer() -> None:
    costs = StartCosts()
    tiers = [Tier.READY, Tier.ASLEEP_1, Tier.ASLEEP_2, Tier.STOPPED]
    guesses = [costs.expected(CostKey("llama", "w1", tier)) for tier in tiers]
    assert guesses == sorted(set(guesses))
    assert (guesses[0], guesses[-1]) == (0.0, UNKNOWN_START)
    costs.learn(START, 100.0)
    assert costs.expected(WAKE) == 10.0
    costs.learn(WAKE, 0.0)
    assert costs.measured(WAKE) == 0.0


def test_levels_of_sleep_are_tiers() -> None:
    assert [Tier.asleep(level) for level in (0, 1, 2)] == [Tier.ASLEEP_1, Tier.ASLEEP_1, Tier.ASLEEP_2]


def test_of_too_many_what_was_measured_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_cost, "MOST_COSTS", 2)
    costs = StartCosts((Cost(START, 1.0), Cost(WAKE, 2.0)))
    costs.learn(START, 1.0)
    other = CostKey("other", "w1", Tier.STOPPED)
    costs.learn(other, 3.0)
    assert costs.measured(START) == 1.0
    assert costs.measured(WAKE) is None
    assert costs.known("llama", Tier.ASLEEP_1) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.floats(0.01, 1000)), max_size=40))
def test_a_mean_lies_between_what_was_measured_and_outlives_the_head(
    measured: list[tuple[str, str, float]],
) -> None:
    costs, last = StartCosts(), {}
    for engine, worker, seconds in measured:
        key = CostKey(engine, worker, Tier.STOPPED)
        cost = costs.learn(key, seconds)
        last[key] = cost
        of_engine = [each for name, place, each in measured if (name, place) == (engine, worker)]
        assert min(of_engine) - 1e-9 <= cost.seconds <= max(of_engine) + 1e-9
    again = StartCosts(tuple(last.values()))
    for key in last:
        assert again.expected(key) == costs.expected(key)


def test_what_is_forgotten_of_one_worker_is_known_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_cost, "MOST_COSTS", 2)
    costs = StartCosts((Cost(CostKey("llama", "w1", Tier.STOPPED), 1.0),))
    costs.learn(CostKey("llama", "w2", Tier.STOPPED), 3.0)
    costs.learn(CostKey("other", "w1", Tier.STOPPED), 9.0)
    assert costs.known("llama", Tier.STOPPED) == 3.0
