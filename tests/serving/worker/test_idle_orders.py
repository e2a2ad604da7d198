"""What follows from orders to stop if idle, and to sleep and wake."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.serving.worker.orders.assignment import Phase
from sllm_actors.serving.worker.orders.assignments import Assignments
from sllm_actors.serving.worker.orders.effects import (
    ChangeTier,
    Check,
    Forget,
    PassOn,
    Retire,
    Say,
    SayGone,
)

from .ordering import A, kinds, refused, resting, run, running, sleep, stop, stop_if_idle


def test_a_stop_if_idle_is_passed_on_once_and_what_has_ended_by_it_is_gone() -> None:
    assignments = running()
    assert assignments.take(stop_if_idle()) == [Retire(A, "it is idle", if_idle=True)]
    assert assignments.take(stop_if_idle()) == []  # a whole was read again
    assert assignments.phase(A) is Phase.RUNNING
    for failure in ("", "KeyError: 1"):
        again = running()
        again.take(stop_if_idle())
        assert again.ended(A, failure, now=101.0, chance=0.0) == [SayGone(A)]
        assert again.due() is None


def test_what_ends_if_idle_when_its_order_is_gone_is_forgotten() -> None:
    for order in (stop_if_idle(), sleep()):
        assignments = running()
        assignments.take(order)
        assert assignments.withdrawn(A) == []
        assert assignments.ended(A, "", now=101.0, chance=0.0) == [Forget(A)]
        assert not assignments.stops, "nobody would ever take back what is said of it"
        again = running()
        again.take(order)
        again.withdrawn(A)
        again.take(order)
        assert again.ended(A, "", now=101.0, chance=0.0) == [SayGone(A)]


def test_a_stop_if_idle_that_was_declined_is_passed_on_again_when_it_is_ordered_anew() -> None:
    assignments = running()
    assignments.take(stop_if_idle())
    assert assignments.take(stop_if_idle(turn=1)) == [Retire(A, "it is idle", if_idle=True)]


def test_a_stop_if_idle_is_taken_back_and_what_has_ended_meanwhile_starts_again() -> None:
    assignments = running()
    assignments.take(stop_if_idle())
    assert assignments.take(run()) == [ChangeTier(A, None)]
    assert assignments.take(run()) == []
    assert not assignments.stops
    assert kinds(assignments.ended(A, "", now=101.0, chance=0.0)) == [Say]
    assert kinds(assignments.wake(102.0)) == [Say, Check]


def test_a_stop_follows_a_stop_if_idle_but_not_the_other_way_round() -> None:
    assignments = running()
    assignments.take(stop_if_idle())
    assert assignments.take(stop()) == [Retire(A, "it is not wanted")]
    assert assignments.take(stop_if_idle()) == []
    assert assignments.phase(A) is Phase.ENDING


def test_a_stop_that_gives_requests_more_time_is_followed_once_by_one_that_does_not() -> None:
    assignments = running()
    patient = evolve(stop(), patience=600.0)
    assert assignments.take(patient) == [Retire(A, "it is not wanted", patience=600.0)]
    assert assignments.take(patient) == []
    assert assignments.take(stop()) == [Retire(A, "it is not wanted")]
    assert assignments.take(stop()) == []
    assert assignments.take(patient) == []


def test_what_does_not_run_is_gone_if_it_is_to_stop_if_idle_or_to_sleep() -> None:
    for order in (stop_if_idle(), sleep()):
        for assignments in (Assignments(), refused(), resting()):
            assert assignments.take(order) == [SayGone(A)]
            assert assignments.take(order) == []
            assert assignments.due() is None
            assert kinds(assignments.take(run())) == [Say, Check]
            assert not assignments.stops


def test_what_runs_is_told_once_to_sleep_and_once_to_wake() -> None:
    assignments = running()
    assert assignments.take(sleep(2)) == [ChangeTier(A, 2)]
    assert assignments.take(sleep(2)) == []
    assert assignments.take(sleep(2, turn=1)) == [ChangeTier(A, 2)]
    changed = run(drain_timeout=5.0)
    assert changed.run is not None
    assert assignments.take(changed) == [ChangeTier(A, None), PassOn(changed.run)]


def test_what_had_its_turn_is_told_how_long_its_requests_get_before_it_sleeps() -> None:
    assignments = running()
    patient = evolve(sleep(1, turn=1), patience=600.0)
    assert assignments.take(patient) == [ChangeTier(A, 1, patience=600.0)]
    assert assignments.take(patient) == []
    assert assignments.ended(A, "", now=101.0, chance=0.0) == [SayGone(A)], "its requests did not end"
    assert assignments.take(patient) == []


def test_what_was_put_to_sleep_here_is_woken_by_an_order_that_says_the_same_anew() -> None:
    assignments = running()
    again = evolve(run(), turn=2)
    assert assignments.take(again) == [ChangeTier(A, None)]
    assert assignments.take(again) == []


def test_a_sleeper_that_has_ended_is_gone_until_it_is_to_run() -> None:
    assignments = running()
    assignments.take(sleep())
    assert assignments.ended(A, "", now=101.0, chance=0.0) == [SayGone(A)]
    assert list(assignments.stops) == [A]
    assert assignments.take(sleep()) == []
    assert assignments.withdrawn(A) == [Forget(A)]
