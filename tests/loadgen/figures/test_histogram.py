"""Durations: figures with three digits, in fixed memory, and as other tools read them."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram

from sllm_actors.loadgen.figures.histogram import LONGEST, Durations


def test_percentiles_have_three_digits() -> None:
    durations = Durations()
    for milliseconds in range(1, 1001):
        durations.record(milliseconds / 1000)
    found = durations.summary()
    assert found["count"] == 1000
    assert found["mean"] == pytest.approx(500.5)
    for percentile, expected in (("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999), ("max", 1000)):
        assert found[percentile] == pytest.approx(expected, rel=0.001)
    assert [percent for percent, _ in durations.curve([50, 99])] == [50, 99]
    assert [seconds for _, seconds in durations.curve([50, 99])] == pytest.approx([0.5, 0.99], rel=0.001)


def test_nothing_gives_no_figures() -> None:
    assert Durations().summary() == {}


def test_what_is_out_of_range_counts_as_its_bound() -> None:
    durations = Durations()
    durations.record(-0.5)
    durations.record(1e9)
    assert durations.percentile(1) == 0.0
    assert durations.most == pytest.approx(LONGEST / 1e6, rel=0.001)


def test_other_programs_can_read_it() -> None:
    durations = Durations()
    for _ in range(3):
        durations.record(0.25)
    read = HdrHistogram.decode(durations.encoded())
    assert (read.get_total_count(), read.get_value_at_percentile(50)) == (
        3,
        pytest.approx(250_000, rel=0.001),
    )
