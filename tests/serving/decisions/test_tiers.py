"""Where a replica goes that is not needed: asleep, where its engine can sleep, or away."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.serving.decisions.start_cost import CostKey, StartCosts, Tier
from sllm_actors.serving.decisions.tiers import (
    AS_QUICK,
    Sleeper,
    SleepPolicy,
    Step,
    next_down,
    sleep_level,
)

VLLM = Sleeper("vllm", "w1", can_sleep=True)
ANY = SleepPolicy()


def costs(light: float = 1.0, deep: float = 8.0, start: float = 60.0) -> StartCosts:
    known = StartCosts()
    for tier, seconds in ((Tier.ASLEEP_1, light), (Tier.ASLEEP_2, deep), (Tier.STOPPED, start)):
        known.learn(CostKey("vllm", "w1", tier), seconds)
    return known


def test_an_engine_that_can_sleep_sleeps_lightly_unless_that_is_of_no_use() -> None:
    assert sleep_level(VLLM, ANY, StartCosts()) == 1
    assert sleep_level(VLLM, ANY, costs()) == 1
    assert sleep_level(VLLM, ANY, costs(light=1.0, deep=AS_QUICK)) == 2
    assert sleep_level(evolve(VLLM, memory_is_short=True), ANY, costs()) == 2
    assert sleep_level(evolve(VLLM, can_sleep=False), ANY, costs()) is None


def test_what_a_deployment_says_wins() -> None:
    for level in (1, 2):
        assert sleep_level(VLLM, SleepPolicy(level), costs()) == level
    crowded = evolve(VLLM, memory_is_short=True)
    assert sleep_level(crowded, SleepPolicy(2), costs()) == 2
    assert sleep_level(crowded, SleepPolicy(1), costs()) is None, "its weights have no place"
    assert sleep_level(VLLM, SleepPolicy(0), costs()) is None
    assert sleep_level(evolve(VLLM, can_sleep=False), SleepPolicy(2), costs()) is None


def test_each_step_down_is_dearer_and_the_last_one_is_the_end() -> None:
    first = next_down(Tier.READY, VLLM, ANY, costs())
    assert first == Step(Tier.ASLEEP_1, 1, 1.0)
    assert next_down(first.tier, VLLM, ANY, costs()) == Step(Tier.STOPPED, None, 60.0)
    deep = next_down(Tier.READY, VLLM, SleepPolicy(2), costs())
    assert deep == Step(Tier.ASLEEP_2, 2, 8.0)
    assert next_down(deep.tier, VLLM, SleepPolicy(2), costs()) == Step(Tier.STOPPED, None, 60.0)


def test_an_engine_that_cannot_sleep_goes_at_once() -> None:
    for replica, policy in ((evolve(VLLM, can_sleep=False), ANY), (VLLM, SleepPolicy(0))):
        assert next_down(Tier.READY, replica, policy, costs()) == Step(Tier.STOPPED, None, 60.0)
