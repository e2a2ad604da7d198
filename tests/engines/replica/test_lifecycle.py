"""What becomes of a replica: its rules by examples, and its invariants over any course of events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.engines.replica.events import (
    Admitted,
    Answered,
    AwaitDrained,
    AwaitRetry,
    Cleared,
    Delayed,
    DrainOver,
    Ended,
    EndEngine,
    Event,
    Finish,
    Launched,
    Ordered,
    ProcessStarted,
    Progressed,
    PutToSleep,
    Report,
    RetryDue,
    SleepAsked,
    Slept,
    StartEngine,
    StopAsked,
    Unreached,
    WakeAsked,
    Woken,
)
from sllm_actors.engines.replica.lifecycle import Replica, step
from sllm_actors.engines.retry import LONGEST_DELAY

from .lives import LOST, READY, SLEEP_IF_IDLE, STARTING, after

SERVED = (ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.DRAINING)


def test_a_replica_comes_up() -> None:
    replica, effects = step(Replica(), Ordered(), 0.0)
    assert (replica.state, effects) == (ReplicaState.STARTING, (Report(), StartEngine()))
    replica = after(replica, Launched(4), Progressed(4, "downloading", downloading=True))
    assert replica.downloading
    replica = after(replica, ProcessStarted(4, 77))
    assert not replica.downloading
    replica = after(replica, Progressed(4, "loading"))
    assert (replica.attempt, replica.starts) == (4, 1)
    assert (replica.pid, replica.progress) == (77, "loading")
    replica = after(replica, Answered(4, "unix:/x", concurrency=3, context_length=512))
    assert (replica.state, replica.address, replica.progress) == (ReplicaState.READY, "unix:/x", "")
    assert (replica.concurrency, replica.context_length) == (3, 512)


def test_an_engine_that_was_ready_is_started_again_at_once_and_the_reason_is_kept() -> None:
    replica, effects = step(READY, Ended(1, "the engine was killed by SIGKILL", "signal SIGKILL"), 100.0)
    assert effects == (Report(), StartEngine())
    replica = after(replica, Launched(9), Answered(9, "unix:/y"))
    assert (replica.attempt, replica.starts) == (9, 1)
    assert replica.reason == "the engine was killed by SIGKILL"
    assert replica.state is ReplicaState.READY


def test_a_start_that_fails_is_tried_again_after_a_growing_time() -> None:
    replica, delays = STARTING, []
    for attempt in range(1, 9):
        replica, effects = step(evolve(replica, attempt=attempt), Ended(attempt, "no", "exit code 1"), 0.0)
        assert replica.state is ReplicaState.FAILED
        delays += [effect.delay for effect in effects if isinstance(effect, AwaitRetry)]
        assert replica.retry_in == delays[-1]
        replica = after(replica, RetryDue())
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_crash_loop_ends_in_growing_delays_although_each_start_succeeds() -> None:
    replica, waited = READY, []
    for attempt in range(1, 5):
        replica, effects = step(replica, Ended(attempt, "crash"), 10.0 * attempt)
        waited.append(next((effect.delay for effect in effects if isinstance(effect, AwaitRetry)), 0.0))
        replica = after(replica, RetryDue(), Launched(attempt + 1))
        replica = after(replica, Answered(attempt + 1, "unix:/y"), now=10.0 * attempt + 5)
    assert waited == [0.0, 1.0, 2.0, 4.0]


def test_healthy_uptime_makes_failures_forgotten() -> None:
    worn = evolve(READY, failures=5, delays=4, ready_at=100.0)
    replica, effects = step(worn, Ended(1, "crash"), 100.0 + worn.healthy_uptime)
    assert StartEngine() in effects
    assert (replica.failures, replica.delays) == (1, 0)
    assert after(worn, Ended(1, "crash"), now=99.0 + worn.healthy_uptime).state is ReplicaState.FAILED


def test_a_ready_replica_drains_before_it_stops() -> None:
    replica, effects = step(READY, StopAsked(drain=True, reason="scaled down"), 0.0)
    assert (replica.state, effects) == (ReplicaState.DRAINING, (Report(), AwaitDrained(1)))
    replica, effects = step(replica, DrainOver(1), 0.0)
    assert effects == (Report(), EndEngine())
    replica, effects = step(replica, Cleared(), 0.0)
    assert (replica.state, effects) == (ReplicaState.STOPPED, (Report(), Finish()))


def test_a_second_stop_without_drain_does_not_wait_for_the_first() -> None:
    draining = after(READY, StopAsked(drain=True))
    assert EndEngine() in step(draining, StopAsked(drain=False), 0.0)[1]


def test_what_is_not_serving_has_nothing_to_drain() -> None:
    for replica in (Replica(), STARTING, after(STARTING, Ended(1, "no"))):
        assert step(replica, StopAsked(drain=True), 0.0)[1] == (Report(), EndEngine())


def test_an_engine_that_dies_while_it_drains_is_not_started_again() -> None:
    assert step(after(READY, StopAsked(drain=True)), Ended(1, "crash"), 0.0)[1] == (Report(), EndEngine())


def test_news_of_an_earlier_life_changes_nothing() -> None:
    replica = evolve(READY, attempt=2)
    for event in (Ended(1, "crash"), ProcessStarted(1, 9), Answered(1, "unix:/old"), Progressed(1, "late")):
        assert step(replica, event, 0.0) == (replica, ())


def test_how_long_a_start_and_a_wake_took_is_measured() -> None:
    replica = after(after(Replica(), Ordered()), Launched(1), now=10.0)
    replica = after(replica, Answered(1, "unix:/x", can_sleep=True), now=13.0)
    assert replica.started_in == 3.0
    asleep = after(replica, SLEEP_IF_IDLE, DrainOver(1), Slept(1), now=20.0)
    woken = after(after(asleep, WakeAsked(), now=30.0), Woken(1), now=30.5)
    assert (woken.started_in, woken.woke_in) == (3.0, 0.5)


def test_the_wait_for_a_download_and_for_gpus_is_no_part_of_a_start() -> None:
    replica = after(after(Replica(), Ordered()), Launched(1), now=10.0)
    ready = Answered(1, "unix:/x")
    assert after(after(replica, Admitted(1), now=60.0), ready, now=62.0).started_in == 2.0
    waiting = after(replica, Delayed(1, "no room"), now=60.0)
    assert after(after(waiting, Admitted(1), now=90.0), ready, now=94.0).started_in == 4.0


# ---- a server that somebody else runs


def test_a_server_that_cannot_be_reached_is_failed_and_asked_on_in_the_same_life() -> None:
    lost, effects = step(STARTING, Unreached(1, "refused"), 0.0)
    assert (lost.state, lost.reason, lost.failures, effects) == (
        ReplicaState.FAILED,
        "refused",
        1,
        (Report(),),
    )
    assert step(lost, Unreached(1, "refused"), 0.0) == (lost, ())
    assert step(lost, RetryDue(), 0.0) == (lost, ())
    other, effects = step(lost, Unreached(1, "no route"), 0.0)
    assert (other.reason, other.failures, effects) == ("no route", 1, (Report(),))
    ready = after(other, Answered(1, "http://a"))
    assert (ready.state, ready.address, ready.asking) == (ReplicaState.READY, "http://a", False)


def test_a_server_that_is_loading_is_starting_again() -> None:
    loading = after(LOST, Progressed(1, "loading the model"))
    assert (loading.state, loading.progress) == (ReplicaState.STARTING, "loading the model")
    assert after(loading, Unreached(1, "refused")).failures == 2


def test_a_server_that_is_asked_can_be_given_up_and_its_life_can_end() -> None:
    assert step(LOST, StopAsked(drain=True), 0.0)[1] == (Report(), EndEngine())
    ended, effects = step(LOST, Ended(1, "a mistake"), 0.0)
    assert (ended.state, ended.asking, ended.retry_in) == (ReplicaState.FAILED, False, 1.0)
    assert AwaitRetry(1.0) in effects


def test_only_a_start_can_find_a_server_unreachable() -> None:
    for replica in (READY, Replica(), after(READY, StopAsked(drain=True))):
        assert step(replica, Unreached(replica.attempt, "refused"), 0.0) == (replica, ())


# ---- any course


numbers = st.integers(0, 5)


events: st.SearchStrategy[Event] = st.one_of(
    st.just(Ordered()),
    st.just(RetryDue()),
    st.builds(DrainOver, numbers, st.booleans()),
    st.builds(Launched, numbers),
    st.builds(ProcessStarted, numbers, st.integers(1, 9)),
    st.builds(Progressed, numbers, st.just("loading")),
    st.builds(Answered, numbers, st.just("unix:/x"), st.booleans()),
    st.builds(Unreached, numbers, st.sampled_from(["refused", "no route"])),
    st.builds(Delayed, numbers, st.just("no room")),
    st.builds(Admitted, numbers),
    st.builds(SleepAsked, st.integers(0, 2), st.booleans(), st.sampled_from([None, 600.0])),
    st.just(WakeAsked()),
    st.builds(Slept, numbers),
    st.builds(Woken, numbers),
    st.builds(Ended, numbers, st.just("crash"), chance=st.floats(0, 1, exclude_max=True)),
    st.builds(StopAsked, st.booleans(), st.just("no"), st.booleans(), st.sampled_from([None, 600.0])),
)


@given(st.lists(st.tuples(events, st.floats(0, 200))))
@example([(Ordered(), 0.0), (Delayed(0, "no room"), 0.0), (Ordered(), 0.0)])
def test_in_any_course_of_events_lives_do_not_overlap_and_a_stop_is_final(
    course: list[tuple[Event, float]],
) -> None:
    replica, running, waiting, ended, now = Replica(), False, False, False, 0.0
    for event, pause in course:
        now += pause
        if isinstance(event, Ended) and not running:
            continue
        if isinstance(event, RetryDue) and not waiting:
            continue
        before = replica
        replica, effects = step(replica, event, now)
        if isinstance(event, Ended) and replica != before:
            running = False
        waiting = waiting and not isinstance(event, RetryDue)
        for effect in effects:
            if isinstance(effect, StartEngine):
                assert not running
                assert not ended
                running = True
            elif isinstance(effect, AwaitRetry):
                assert 0 < effect.delay <= LONGEST_DELAY
                waiting = True
            elif isinstance(effect, EndEngine):
                assert not ended
                ended = True
        assert bool(effects) == (replica != before) or effects == (Report(),)
        assert (replica.address != "") <= (replica.state in SERVED)
        assert replica.leaving <= (replica.state in (ReplicaState.ASLEEP, ReplicaState.DRAINING))
        if any(isinstance(effect, PutToSleep) for effect in effects):
            assert before.leaving, "requests may be in flight"
        assert replica.declined in (before.declined, before.declined + 1)
        may_stay = before.if_idle and before.leaving
        if before.state in (ReplicaState.DRAINING, ReplicaState.STOPPED) and not may_stay:
            assert replica.state in (ReplicaState.DRAINING, ReplicaState.STOPPED)
    if ended:
        replica, effects = step(replica, Cleared(), now)
        assert (replica.state, effects) == (ReplicaState.STOPPED, (Report(), Finish()))


NEWS_OF_A_START = (
    lambda life: Delayed(life, "no room"),
    lambda life: Admitted(life),
    lambda life: ProcessStarted(life, 9),
    lambda life: Progressed(life, "loading"),
    lambda life: Answered(life, "unix:/x"),
)


@pytest.mark.parametrize("news", NEWS_OF_A_START)
def test_news_of_no_present_life_changes_nothing_and_starts_no_second_engine(
    news: Callable[[int], Event],
) -> None:
    ordered, begun = Replica(), after(Replica(), Ordered())
    for replica in (ordered, begun):
        assert step(replica, news(0), 0.0) == (replica, ())
    assert step(after(begun, news(0)), Ordered(), 0.0) == (begun, ())
    failed = after(begun, Launched(1), Ended(1, "no"))
    for replica in (failed, after(failed, RetryDue())):
        assert step(replica, news(1), 0.0) == (replica, ())


def test_news_of_a_start_that_is_over_changes_nothing() -> None:
    for event in (ProcessStarted(1, 99), Progressed(1, "loading"), Answered(1, "unix:/y")):
        assert step(READY, event, 0.0) == (READY, ())


def test_a_stop_changes_nothing_any_more_once_it_has_stopped() -> None:
    stopped = evolve(READY, state=ReplicaState.STOPPED)
    assert step(stopped, StopAsked(drain=True), 0.0) == (stopped, ())


def test_a_start_that_waits_for_room_is_pending_until_it_is_admitted() -> None:
    waiting, effects = step(STARTING, Delayed(1, "waits for memory"), 0.0)
    assert (waiting.state, waiting.progress, effects) == (
        ReplicaState.PENDING,
        "waits for memory",
        (Report(),),
    )
    assert step(waiting, Admitted(2), 0.0) == (waiting, ())
    admitted, effects = step(waiting, Admitted(1), 0.0)
    assert (admitted.state, effects) == (ReplicaState.STARTING, (Report(),))
