"""Back-off grows to its cap, is jittered over its whole range, and can be switched off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors import AT_ONCE, Backoff

backoffs = st.builds(
    Backoff,
    first=st.floats(0, 100),
    cap=st.floats(0, 1000),
    factor=st.floats(1, 10),
)


@given(backoffs, st.integers(1, 10_000), st.integers())
def test_no_delay_is_negative_or_longer_than_the_cap(backoff: Backoff, failures: int, seed: int) -> None:
    assert 0 <= backoff.delay(failures, random.Random(seed)) <= backoff.cap


@given(backoffs, st.integers(1, 100))
def test_the_bound_never_shrinks(backoff: Backoff, failures: int) -> None:
    assert backoff.bound(failures) <= backoff.bound(failures + 1)


def test_the_bound_doubles_from_the_first_delay_to_the_cap() -> None:
    backoff = Backoff(first=1, cap=10)
    assert [backoff.bound(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_an_absurd_number_of_failures_is_the_cap_and_no_overflow() -> None:
    assert Backoff(first=1, cap=30, factor=10.0).bound(10**6) == 30


def test_jitter_uses_the_whole_range() -> None:
    rng = random.Random(1)
    delays = [Backoff(first=1, cap=1).delay(1, rng) for _ in range(1000)]
    assert min(delays) < 0.05
    assert max(delays) > 0.95


def test_at_once_never_waits() -> None:
    assert [AT_ONCE.delay(n, random.Random(1)) for n in (1, 5, 10**6)] == [0, 0, 0]


@pytest.mark.parametrize("wrong", [{"first": -1.0}, {"cap": -1.0}, {"factor": 0.5}, {"reset_after": -1.0}])
def test_a_backoff_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Backoff(**wrong)
