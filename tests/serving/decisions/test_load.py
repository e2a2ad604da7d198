"""The load of the last minute: its means are integrals, and what is kept of it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.load import SPAN, STEP, Load

Changes = list[tuple[float, int]]
CHANGES = st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(0, 9)), max_size=40)


def loaded(changes: Changes) -> tuple[Load, list[tuple[float, int]], float]:
    """Return a load after changes, each so many seconds after the one before; those with their times; now."""
    load, now, at = Load(), 0.0, []
    for pause, value in changes:
        now += pause
        load.set(value, now)
        at.append((now, value))
    return load, at, now


def integral(at: list[tuple[float, int]], begin: float, end: float) -> float:
    total, value, since = 0.0, 0, begin
    for when, new in at:
        if when > begin:
            total += value * max(0.0, min(when, end) - since)
            since = max(since, min(when, end))
        value = new
    return total + value * (end - since)


@given(CHANGES, st.sampled_from([6.0, SPAN]), st.floats(0.0, 100.0))
def test_a_mean_is_the_integral_but_for_one_step_at_its_beginning(
    changes: Changes, span: float, after: float
) -> None:
    load, at, now = loaded(changes)
    now += after
    exact = integral(at, now - span, now) / span
    assert load.mean(span, now) == pytest.approx(exact, abs=9 * STEP / span + 1e-6)


def test_however_often_it_changes_a_bounded_record_is_kept() -> None:
    load = Load()
    for number in range(20_000):
        load.set(number % 3, number * 0.01)
    assert len(load._times) <= SPAN / STEP + 2


def test_nothing_is_known_before_the_first_change() -> None:
    load = Load()
    assert load.mean(SPAN, 5.0) == 0.0
    load.set(0, 6.0)
    load.set(6, 10.0)
    assert load.mean(6.0, 13.0) == 3.0
