"""What a request that waits may expect."""

from __future__ import annotations

import pytest
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.lines.measured import MOST_STARTS, Measured
from sllm_actors.gateway.routing.lines.place import UNLIMITED
from sllm_actors.gateway.routing.route import Route, make_route


def route(*reports: ReplicaReport) -> Route:
    return make_route("smol:llamacpp", served(), [("w", each) for each in reports], patience=5)


def starting(number: int = 1, attempt: int = 1) -> ReplicaReport:
    return replica(state=ReplicaState.STARTING, number=number, attempt=attempt)


def test_a_start_is_measured_from_its_first_report_to_ready() -> None:
    measured = Measured()
    assert measured.wait(0, 0, 0.0) is None
    measured.follow(route(replica()), 0.0)
    assert measured.wait(0, 0, 0.0) is None, "it was ready when it was first heard of"
    measured.follow(route(starting(2)), 10.0)
    measured.follow(route(starting(2, attempt=2)), 15.0)
    measured.follow(route(replica(number=2, attempt=2)), 30.0)
    assert measured.start == 20.0
    measured.follow(route(starting(3), starting(4)), 40.0)
    measured.follow(route(starting(4)), 45.0)
    measured.follow(route(replica(number=4), replica(number=3)), 50.0)
    assert measured.start == pytest.approx(17.0), "the newest counts 0.3; one that went is not measured"


def test_who_waits_for_a_start_waits_for_what_is_left_of_it() -> None:
    measured = Measured()
    measured.start = 20.0
    assert measured.wait(5, 0, 0.0) == 20.0
    measured.follow(route(starting()), 3.0)
    assert measured.wait(5, 0, 8.0) == 15.0
    assert measured.wait(5, 0, 80.0) == 0.0


def test_what_was_not_seen_here_is_expected_as_the_head_has_measured_it() -> None:
    told = served(starts_in=20.0, wakes_in=0.5)
    asleep = replica(state=ReplicaState.ASLEEP, number=2)
    measured = Measured()
    measured.follow(make_route("smol:llamacpp", told, [("w", starting())], patience=5), 3.0)
    assert measured.wait(5, 0, 8.0) == 15.0
    measured.follow(make_route("smol:llamacpp", told, [("w", asleep)], patience=5), 9.0)
    assert measured.wait(5, 0, 9.0) == 0.5
    measured.follow(make_route("smol:llamacpp", told, [("w", asleep), ("w", starting())], patience=5), 9.0)
    assert measured.wait(5, 0, 10.0) == 19.0


def test_who_waits_for_room_waits_for_those_before_it() -> None:
    measured = Measured()
    assert measured.wait(0, 2, 0.0) is None
    measured.served(3.0)
    measured.served(1.0)
    assert measured.service == pytest.approx(2.4)
    assert measured.wait(0, 2, 0.0) == pytest.approx(1.2)
    assert measured.wait(9, 2, 0.0) == pytest.approx(12.0)
    assert measured.wait(9, UNLIMITED, 0.0) == 0.0


def test_the_starts_that_are_measured_at_a_time_are_bounded() -> None:
    measured = Measured()
    measured.follow(route(*(starting(number) for number in range(MOST_STARTS + 9))), 0.0)
    assert len(measured._starting) == MOST_STARTS
