"""Many measurements become a median, extremes, percentiles."""

from __future__ import annotations

import pytest
from bench.harness.spread import Spread, percentile
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=50)


def test_a_spread_is_the_median_with_the_extremes() -> None:
    assert Spread.of([30.0, 10.0, 20.0]) == Spread(median=20.0, low=10.0, high=30.0, count=3)
    assert Spread.of([30.0, 10.0, 20.0]).relative == 1.0


def test_no_measurements_have_no_spread_and_no_percentile() -> None:
    with pytest.raises(ValueError, match="no measurements"):
        Spread.of([])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_around_zero_is_not_divided_by_it() -> None:
    assert Spread.of([0.0, 0.0]).relative == 0.0


def test_the_99th_percentile_of_a_hundred_is_the_99th() -> None:
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile(range(1, 101), 1) == 100
    assert percentile([7.0], 0.0) == 7.0


@pytest.mark.parametrize("share", [-0.1, 1.1, 99])
def test_a_percentile_wants_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], share)


@given(VALUES, st.floats(0, 1))
def test_at_least_that_share_does_not_exceed_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@given(VALUES)
def test_the_median_lies_between_the_extremes(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
