"""Replicas that sleep, and stops and sleep that a busy replica may decline."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.engines.replica.events import (
    AwaitDrained,
    DrainOver,
    Ended,
    EndEngine,
    PutToSleep,
    Report,
    SleepAsked,
    Slept,
    StopAsked,
    WakeAsked,
    WakeUp,
    Woken,
)
from sllm_actors.engines.replica.lifecycle import Replica, step

from .lives import LOST, READY, SLEEP_IF_IDLE, SLEEPER, STARTING, after


def test_a_replica_that_sleeps_takes_no_requests_until_it_has_woken() -> None:
    replica, effects = step(SLEEPER, SleepAsked(1), 0.0)
    assert (replica.state, replica.progress) == (ReplicaState.ASLEEP, "waiting for its requests to end")
    assert effects == (Report(), AwaitDrained(1))
    replica, effects = step(replica, DrainOver(1), 0.0)
    assert (replica.state, replica.progress) == (ReplicaState.ASLEEP, "falling asleep")
    assert effects == (Report(), PutToSleep(1))
    replica, effects = step(replica, Slept(1), 5.0)
    assert (replica.state, replica.progress, effects) == (ReplicaState.ASLEEP, "", (Report(),))
    replica, effects = step(replica, WakeAsked(), 6.0)
    assert (replica.state, replica.progress) == (ReplicaState.ASLEEP, "waking up")
    assert effects == (Report(), WakeUp(1))
    replica, effects = step(replica, Woken(1), 7.0)
    assert (replica.state, replica.progress, effects) == (ReplicaState.READY, "", (Report(),))
    assert replica.address == READY.address


def test_who_is_needed_while_falling_asleep_wakes_when_it_sleeps() -> None:
    replica = after(SLEEPER, SleepAsked(2), DrainOver(1), WakeAsked())
    assert step(replica, WakeAsked(), 0.0) == (replica, ())
    assert step(replica, Slept(1), 0.0) == (replica, ())
    assert after(replica, Slept(1), Woken(1)).state is ReplicaState.READY


def test_who_is_needed_before_its_requests_have_ended_never_sleeps() -> None:
    replica, effects = step(after(SLEEPER, SleepAsked(1)), WakeAsked(), 0.0)
    assert (replica, effects) == (evolve(SLEEPER, withdrawal=1), (Report(),))
    assert step(replica, DrainOver(1), 0.0) == (replica, ())


def test_requests_that_do_not_end_in_time_keep_a_replica_awake() -> None:
    replica, effects = step(after(SLEEPER, SleepAsked(1)), DrainOver(1, late=True), 0.0)
    reason = "it was not put to sleep: its requests did not end in time"
    assert (replica, effects) == (evolve(SLEEPER, withdrawal=1, reason=reason), (Report(),))


def test_news_of_an_earlier_withdrawal_changes_nothing() -> None:
    for asked in (SleepAsked(1), StopAsked(drain=True)):
        replica = after(SLEEPER, SleepAsked(1), WakeAsked(), asked)
        for late in (False, True):
            assert step(replica, DrainOver(1, late), 0.0) == (replica, ())
        assert step(replica, DrainOver(2), 0.0)[1] != ()


def test_an_engine_that_cannot_sleep_is_stopped_instead() -> None:
    replica, effects = step(READY, SleepAsked(1), 0.0)
    assert (replica.state, effects) == (ReplicaState.DRAINING, (Report(), AwaitDrained(1)))
    assert replica.reason == "it is idle, and its engine cannot sleep"


def test_only_a_ready_replica_is_put_to_sleep_and_only_a_sleeping_one_woken() -> None:
    for replica in (Replica(), STARTING, after(SLEEPER, SleepAsked(1))):
        assert step(replica, SleepAsked(1), 0.0) == (replica, ())
    for replica in (Replica(), STARTING, SLEEPER):
        assert step(replica, WakeAsked(), 0.0) == (replica, ())


def test_an_engine_that_dies_asleep_is_started_again() -> None:
    dozing = after(SLEEPER, SleepAsked(1))
    for asleep in (dozing, after(dozing, DrainOver(1), Slept(1))):
        replica = after(asleep, Ended(1, "crash"))
        assert (replica.state, replica.level, replica.leaving) == (ReplicaState.STARTING, None, False)
        assert replica.address == ""


def test_a_sleeping_replica_can_be_stopped() -> None:
    asleep = after(SLEEPER, SleepAsked(1), DrainOver(1), Slept(1))
    assert after(asleep, StopAsked(drain=True)).state is ReplicaState.DRAINING
    assert step(asleep, StopAsked(drain=False), 0.0)[1] == (Report(), EndEngine())


# ---- if idle

STOP_IF_IDLE = StopAsked(drain=True, reason="it is idle", if_idle=True)


def test_an_idle_replica_stops_at_once() -> None:
    replica, effects = step(READY, STOP_IF_IDLE, 0.0)
    assert (replica.state, replica.progress) == (ReplicaState.DRAINING, "it is idle")
    assert effects == (Report(), AwaitDrained(1, if_idle=True))
    replica, effects = step(replica, DrainOver(1), 0.0)
    assert (replica.state, effects) == (ReplicaState.DRAINING, (Report(), EndEngine()))
    assert not replica.if_idle, "nothing keeps it from ending now"
    assert step(replica, WakeAsked(), 0.0) == (replica, ())


def test_a_busy_replica_declines_to_stop_and_is_as_it_was() -> None:
    worn = evolve(READY, reason="the engine was killed by SIGKILL")
    for asked in (1, 2):
        draining = after(worn, STOP_IF_IDLE)
        worn, effects = step(draining, DrainOver(asked, late=True), 2.0)
        assert effects == (Report(),)
        assert worn == evolve(
            READY, reason="the engine was killed by SIGKILL", withdrawal=asked, declined=asked
        )
        assert step(worn, DrainOver(asked), 3.0) == (worn, ())  # too late: gateways may send it requests


def test_a_stop_if_idle_is_asked_again_without_effect_and_may_be_taken_back() -> None:
    draining = after(READY, STOP_IF_IDLE)
    assert step(draining, STOP_IF_IDLE, 0.0) == (draining, ())
    assert step(draining, WakeAsked(), 0.0) == (evolve(READY, withdrawal=1), (Report(),))


def test_requests_get_as_long_as_a_stop_gives_them_and_the_usual_time_after_another_one() -> None:
    draining, effects = step(READY, StopAsked(drain=True, patience=600.0), 0.0)
    assert effects == (Report(), AwaitDrained(1, patience=600.0))
    assert step(draining, StopAsked(drain=True, patience=600.0), 1.0) == (draining, ())
    hasty, effects = step(draining, StopAsked(drain=True), 1.0)
    assert effects == (Report(), AwaitDrained(2))
    assert step(hasty, StopAsked(drain=True), 2.0) == (hasty, ())


def test_haste_wins_over_a_stop_if_idle() -> None:
    draining = after(READY, STOP_IF_IDLE)
    hasty, effects = step(draining, StopAsked(drain=True, reason="it is deleted"), 1.0)
    assert (hasty.state, hasty.reason, hasty.if_idle) == (ReplicaState.DRAINING, "it is deleted", False)
    assert effects == (Report(), AwaitDrained(2))
    assert step(hasty, DrainOver(1, late=True), 2.0) == (hasty, ())  # the short time of before is over
    assert step(hasty, STOP_IF_IDLE, 2.0) == (hasty, ())
    assert step(hasty, WakeAsked(), 2.0) == (hasty, ())
    assert step(hasty, DrainOver(2, late=True), 30.0)[1] == (Report(), EndEngine())
    assert step(draining, StopAsked(drain=False), 1.0)[1] == (Report(), EndEngine())


def test_what_serves_nobody_stops_at_once_if_it_is_to_stop_if_idle() -> None:
    asleep = after(SLEEPER, SleepAsked(1), DrainOver(1), Slept(1))
    for replica in (Replica(), STARTING, after(STARTING, Ended(1, "no")), LOST, asleep):
        stopping, effects = step(replica, STOP_IF_IDLE, 0.0)
        assert (stopping.reason, effects) == ("it is idle", (Report(), EndEngine()))


def test_an_engine_that_dies_while_it_is_to_stop_if_idle_is_not_started_again() -> None:
    assert step(after(READY, STOP_IF_IDLE), Ended(1, "crash"), 0.0)[1] == (Report(), EndEngine())


def test_a_busy_replica_declines_to_sleep() -> None:
    tired, effects = step(SLEEPER, SLEEP_IF_IDLE, 0.0)
    assert (tired.state, tired.level) == (ReplicaState.ASLEEP, 1)
    assert effects == (Report(), AwaitDrained(1, if_idle=True))
    awake, effects = step(tired, DrainOver(1, late=True), 2.0)
    assert (awake, effects) == (evolve(SLEEPER, withdrawal=1, declined=1), (Report(),))


def test_a_replica_that_is_to_stop_before_it_has_fallen_asleep_may_decline_that_too() -> None:
    draining = after(SLEEPER, SLEEP_IF_IDLE, STOP_IF_IDLE)
    assert (draining.state, draining.level) == (ReplicaState.DRAINING, None)
    assert after(draining, DrainOver(1)) == draining
    assert after(draining, DrainOver(2, late=True)) == evolve(SLEEPER, withdrawal=2, declined=1)


def test_a_replica_that_wakes_or_cannot_sleep_declines() -> None:
    waking = after(SLEEPER, SLEEP_IF_IDLE, DrainOver(1), Slept(1), WakeAsked())
    for asked in (STOP_IF_IDLE, SLEEP_IF_IDLE):
        assert step(waking, asked, 0.0) == (evolve(waking, declined=1), (Report(),))
    assert step(READY, SLEEP_IF_IDLE, 0.0) == (evolve(READY, declined=1), (Report(),))


def test_a_sleeper_that_nobody_needs_ends_with_its_engine() -> None:
    tired = after(SLEEPER, SLEEP_IF_IDLE)
    for asleep in (tired, after(tired, DrainOver(1), Slept(1))):
        ended, effects = step(asleep, Ended(1, "the engine was killed"), 0.0)
        assert (ended.state, ended.reason) == (ReplicaState.DRAINING, "the engine was killed")
        assert effects == (Report(), EndEngine())
    waking = after(tired, DrainOver(1), Slept(1), WakeAsked())
    assert after(waking, Ended(1, "crash")).state is ReplicaState.STARTING
