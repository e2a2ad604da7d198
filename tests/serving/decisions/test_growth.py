"""Whether more replicas are worth their start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.growth import REMEMBERED, WORTH, ServiceTime, worth_starting


def test_how_long_requests_take_is_told_by_two_counts() -> None:
    service, found = ServiceTime(), []
    for now in (100.0, 103.0):
        service.take(2, 2, now)
        found.append(service.seconds)
    assert found == [None, None], "none has ended"
    service.take(1, 2, 104.0)
    assert service.seconds == 8.0
    service.take(0, 2, 106.0)
    assert service.seconds == 5.0
    service.take(0, 2, 1000.0)
    assert service.seconds == 5.0, "a pause counts for nothing"


def test_a_count_that_begins_anew_is_taken_as_it_is() -> None:
    service = ServiceTime()
    service.take(1, 5, 0.0)
    service.take(0, 5, 4.0)
    service.take(0, 0, 5.0)
    service.take(1, 1, 6.0)
    service.take(0, 1, 8.0)
    assert service.seconds == pytest.approx(6.0 / 6)


def test_it_rises_while_none_ends_and_follows_what_changes() -> None:
    service, now = ServiceTime(), 0.0
    for turn in range(200):
        service.take(1, turn + 1, now)
        now += 1.0 if turn < 100 else 5.0
        service.take(0, turn + 1, now)
    assert service.seconds == pytest.approx(5.0, abs=1.0)
    service.take(8, 208, now)
    service.take(8, 208, now + 100.0)
    assert service.seconds is not None
    assert service.seconds > 5.0 + 800 / (2 * REMEMBERED)


def test_a_replica_that_would_come_when_the_burst_is_over_is_not_started() -> None:
    # One replica takes 8 at a time, for 2 s each; a start takes 10 s. The last of 40 begins after 8 s.
    assert worth_starting(40, 1, 8, 2.0, 10.0) == 1
    assert worth_starting(80, 1, 8, 2.0, 10.0) == 2
    assert worth_starting(40, 1, 8, 20.0, 10.0) == 4, "all but the last one would wait for more than a start"


@pytest.mark.parametrize(("seconds", "start"), [(None, 10.0), (2.0, 0.0), (None, 0.0)])
def test_what_was_not_measured_is_no_reason_to_wait(seconds: float | None, start: float) -> None:
    assert worth_starting(17, 0, 8, seconds, start) == 3
    assert worth_starting(16, 0, 8, seconds, start) == 2


COUNTS = st.integers(0, 10_000)
TIMES = st.floats(0.001, 10_000.0)


@given(requests=COUNTS, replicas=st.integers(0, 100), target=st.integers(1, 100), seconds=TIMES, start=TIMES)
def test_what_waits_waits_no_longer_than_a_start_or_every_request_has_a_place(
    requests: int, replicas: int, target: int, seconds: float, start: float
) -> None:
    found = worth_starting(requests, replicas, target, seconds, start)
    assert found >= max(1, replicas)
    places = found * target
    last = max(0, requests - places) * seconds / places
    assert last <= WORTH * start * (1 + 1e-6)
    if found > max(1, replicas):
        fewer = places - target
        assert (requests - fewer) * seconds / fewer >= WORTH * start * (1 - 1e-6), "one fewer would not do"
    assert found <= worth_starting(requests + 1, replicas, target, seconds, start)
    assert found >= worth_starting(requests, replicas, target, seconds, 2 * start)
