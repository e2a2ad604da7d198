"""When an engine waits for a fork server that still imports, and when it starts as a program instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.warm.waiting import (
    LONGEST,
    PLAIN,
    STALLED,
    USUAL,
    Importing,
    is_worth_waiting,
    remaining,
    saved,
)


def test_what_remains_follows_from_the_pace_once_it_can_be_told() -> None:
    slow = Importing(elapsed=40, quiet=0, modules=3000, count=6000, seconds=8)
    assert remaining(slow) == 40
    assert saved(slow) == PLAIN * 80
    assert remaining(Importing(elapsed=9, quiet=0, modules=5400, count=6000)) == pytest.approx(1)
    beyond = Importing(elapsed=9, quiet=0, modules=6100, count=6000)
    assert (beyond.share, remaining(beyond)) == (1.0, 0)


@pytest.mark.parametrize(("seconds", "usual"), [(0.0, USUAL), (8.0, 8.0)])
@pytest.mark.parametrize(("modules", "count"), [(0, 0), (700, 0), (500, 6000)])
def test_before_its_pace_can_be_told_the_last_import_counts(
    seconds: float, usual: float, modules: int, count: int
) -> None:
    begun = Importing(elapsed=3, quiet=0, modules=modules, count=count, seconds=seconds)
    assert remaining(begun) == usual - 3
    assert saved(begun) == PLAIN * usual


def test_an_import_that_is_overdue_is_given_as_much_time_again_but_not_for_ever() -> None:
    overdue = Importing(elapsed=20, quiet=0, seconds=10)
    assert remaining(overdue) == 20
    assert is_worth_waiting(overdue, waited=20)
    assert not is_worth_waiting(Importing(elapsed=10 * PLAIN + 1, quiet=0, seconds=10), waited=5)


@pytest.mark.parametrize("elapsed", [0.0, 5.0, 29.0, 60.0, 119.0])
def test_an_import_that_comes_forward_is_waited_for_on_a_slow_machine_too(elapsed: float) -> None:
    importing = Importing(elapsed=elapsed, quiet=2, modules=int(50 * elapsed) + 600, count=6000, seconds=8)
    assert is_worth_waiting(importing, waited=elapsed)


def test_nobody_waits_for_a_server_that_has_stalled() -> None:
    assert is_worth_waiting(Importing(elapsed=60, quiet=STALLED - 1, modules=5000, count=6000), waited=1)
    assert not is_worth_waiting(Importing(elapsed=60, quiet=STALLED, modules=5000, count=6000), waited=1)


def test_a_start_with_little_time_waits_less() -> None:
    begun = Importing(elapsed=5, quiet=0)
    assert is_worth_waiting(begun, waited=4.9, longest=5)
    assert not is_worth_waiting(begun, waited=5, longest=5)


SECONDS = st.floats(0, 1000)


@given(SECONDS, SECONDS, SECONDS, st.integers(0, 9000), st.integers(0, 9000), SECONDS, SECONDS)
def test_no_wait_is_longer_than_the_longest(
    elapsed: float, quiet: float, seconds: float, modules: int, count: int, waited: float, longest: float
) -> None:
    importing = Importing(elapsed, quiet, modules, count, seconds)
    assert remaining(importing) >= 0
    if is_worth_waiting(importing, waited, longest):
        assert waited < min(longest, LONGEST)
        assert quiet < STALLED
