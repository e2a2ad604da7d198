"""Which idle replicas go when another deployment needs their room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.eviction import (
    HALF_LIFE,
    TRIED_ONE_BY_ONE,
    GreedyDual,
    Uses,
    Victim,
    cheapest,
)


def enough_for(need: int, sizes: dict[str, int]) -> Callable[[Sequence[str]], bool]:
    return lambda keys: sum(sizes[key] for key in keys) >= need


def test_a_use_counts_half_after_its_half_life() -> None:
    uses = Uses()
    assert uses.at(5.0) == 0.0
    uses.add(4, 10.0)
    assert uses.at(10.0) == 4.0
    assert uses.at(10.0 + HALF_LIFE) == pytest.approx(2.0)
    uses.add(1, 10.0 + HALF_LIFE)
    assert uses.at(10.0 + 2 * HALF_LIFE) == pytest.approx(1.5)


def test_what_is_used_more_costs_more_or_frees_less_is_worth_more() -> None:
    dual = GreedyDual()
    plain = dual.worth(uses=2, cost=10, share=0.5)
    assert dual.worth(uses=3, cost=10, share=0.5) > plain
    assert dual.worth(uses=2, cost=11, share=0.5) > plain
    assert dual.worth(uses=2, cost=10, share=1.0) < plain


def test_what_is_not_used_any_more_goes_in_the_end() -> None:
    dual = GreedyDual()
    once_dear = dual.worth(uses=50, cost=10, share=1.0)
    rounds = 0
    while (other := dual.worth(uses=1, cost=10, share=1.0)) <= once_dear:
        dual.evicted(other)
        rounds += 1
    assert rounds == 50
    dual.evicted(0.0)
    assert dual.worth(uses=0, cost=10, share=1.0) == 500.0, "what it was compared with never falls"


def test_none_goes_where_there_is_room_and_none_where_all_would_not_do() -> None:
    sizes = {"a": 1, "b": 1}
    candidates = [Victim(key, 0, 1.0) for key in sizes]
    assert cheapest(candidates, enough_for(0, sizes)) == ()
    assert cheapest(candidates, enough_for(3, sizes)) is None
    many = [Victim(str(number), 0, 1.0) for number in range(TRIED_ONE_BY_ONE + 1)]
    assert cheapest(many, lambda _: False) is None


def test_one_of_a_lower_priority_goes_though_it_is_worth_more() -> None:
    sizes = {"low": 1, "high": 1}
    candidates = [Victim("low", -1, 100.0), Victim("high", 0, 1.0)]
    chosen = cheapest(candidates, enough_for(1, sizes))
    assert chosen is not None
    assert [each.key for each in chosen] == ["low"]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(-1, 1), st.integers(0, 20)),
        max_size=TRIED_ONE_BY_ONE + 4,
    ),
    st.integers(0, 12),
)
def test_what_is_chosen_is_enough_and_none_of_it_could_stay(
    replicas: list[tuple[int, int, int]], need: int
) -> None:
    sizes = {str(number): size for number, (size, _, _) in enumerate(replicas)}
    candidates = [
        Victim(str(number), priority, float(worth)) for number, (_, priority, worth) in enumerate(replicas)
    ]
    enough = enough_for(need, sizes)
    chosen = cheapest(candidates, enough)
    if chosen is None:
        assert not enough(list(sizes))
        return
    assert enough([each.key for each in chosen])
    for left_out in chosen:
        assert not enough([each.key for each in chosen if each is not left_out])
    if len(candidates) > TRIED_ONE_BY_ONE:
        return
    highest = max((each.priority for each in chosen), default=-10)
    for size in range(len(candidates) + 1):
        for other in combinations(candidates, size):
            if enough([each.key for each in other]):
                other_highest = max((each.priority for each in other), default=-10)
                assert highest <= other_highest
                if highest == other_highest:
                    assert sum(each.worth for each in chosen) <= sum(each.worth for each in other)
