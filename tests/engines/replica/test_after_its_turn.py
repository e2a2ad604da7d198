"""A replica in use that had its turn: it sleeps once its requests have ended, and stops if they do not."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.engines.replica.events import (
    AwaitDrained,
    DrainOver,
    Ended,
    EndEngine,
    Event,
    NoMemory,
    PutToSleep,
    Report,
    SleepAsked,
    Slept,
    WakeAsked,
    Woken,
)
from sllm_actors.engines.replica.lifecycle import Replica, step

READY = Replica(state=ReplicaState.READY, attempt=1, starts=1, address="unix:/s")
SLEEPER = evolve(READY, can_sleep=True)
SLEEP_IF_IDLE = SleepAsked(1, if_idle=True)
SLEEP_AFTER_ITS_TURN = SleepAsked(1, if_idle=True, patience=600.0)


def after(replica: Replica, *events: Event) -> Replica:
    for event in events:
        replica, _ = step(replica, event, 0.0)
    return replica


def test_one_that_had_its_turn_gets_as_long_for_its_requests_as_it_is_told_and_then_sleeps() -> None:
    tired, effects = step(SLEEPER, SLEEP_AFTER_ITS_TURN, 0.0)
    assert (tired.state, tired.progress) == (ReplicaState.ASLEEP, "waiting for its requests to end")
    assert effects == (Report(), AwaitDrained(1, if_idle=True, patience=600.0))
    assert step(tired, SLEEP_AFTER_ITS_TURN, 1.0) == (tired, ())
    assert step(tired, DrainOver(1), 2.0)[1] == (Report(), PutToSleep(1))
    assert step(tired, WakeAsked(), 2.0) == (evolve(SLEEPER, withdrawal=1, patient=True), (Report(),))


def test_one_that_had_its_turn_is_stopped_if_its_requests_do_not_end() -> None:
    ending, effects = step(after(SLEEPER, SLEEP_AFTER_ITS_TURN), DrainOver(1, late=True), 600.0)
    assert (ending.state, effects) == (ReplicaState.DRAINING, (Report(), EndEngine()))
    assert ending.reason == "it was not put to sleep, but stopped: its requests did not end in time"
    assert (ending.leaving, ending.declined) == (False, 0)
    assert step(ending, WakeAsked(), 601.0) == (ending, ())


def test_patience_is_for_one_withdrawal_only() -> None:
    awake = after(SLEEPER, SLEEP_AFTER_ITS_TURN, WakeAsked(), SLEEP_IF_IDLE)
    assert after(awake, DrainOver(2, late=True)) == evolve(SLEEPER, withdrawal=2, declined=1)


def test_one_that_had_its_turn_and_whose_engine_dies_is_not_started_again() -> None:
    assert step(after(SLEEPER, SLEEP_AFTER_ITS_TURN), Ended(1, "crash"), 0.0)[1] == (Report(), EndEngine())


def test_one_that_had_its_turn_and_cannot_sleep_declines() -> None:
    assert step(READY, SLEEP_AFTER_ITS_TURN, 0.0) == (evolve(READY, declined=1), (Report(),))


def test_one_whose_weights_find_no_memory_is_ready_again_and_declines() -> None:
    for asked in (SLEEP_IF_IDLE, SLEEP_AFTER_ITS_TURN, SleepAsked(1)):
        dozing = after(SLEEPER, asked, DrainOver(1))
        awake, effects = step(dozing, NoMemory(1, "no memory"), 5.0)
        assert (awake.state, awake.level, awake.declined) == (ReplicaState.READY, None, 1)
        assert (awake.memory_short, awake.reason, effects) == (True, "no memory", (Report(),))
        assert step(dozing, NoMemory(2, "of another life"), 5.0) == (dozing, ())
        woken = after(awake, SleepAsked(2), DrainOver(2), Slept(1), WakeAsked(), Woken(1))
        assert not woken.memory_short
    assert step(SLEEPER, NoMemory(1, "no memory"), 5.0) == (SLEEPER, ())
