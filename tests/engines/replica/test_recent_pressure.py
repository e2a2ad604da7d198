"""How full an engine is: the most of the last minute counts, in steps, and only a change of it is told."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.backends.work_metrics import Sample
from sllm_actors.engines.replica.events import Ended, Pressed, SleepAsked
from sllm_actors.engines.replica.lifecycle import step
from sllm_actors.engines.replica.recent_pressure import (
    EMPTY,
    KV_STEP,
    MOST_WAITING,
    SPAN,
    Pressure,
    RecentPressure,
)

from .lives import READY, after

SAMPLES = st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 1e6), st.floats(-1.0, 2.0))


def sample(waiting: float = 0.0, kv: float = 0.0) -> Sample:
    return Sample(running=1.0, worked=1.0, waiting=waiting, kv=kv)


def test_it_rises_at_once_and_falls_a_minute_later() -> None:
    recent = RecentPressure()
    assert recent.see(sample(), 0.0) == EMPTY
    assert recent.see(sample(4, 0.83), 5.0) == Pressure(4, 80)
    assert recent.see(sample(1, 0.31), 10.0) == Pressure(4, 80)
    assert recent.see(sample(), 5.0 + SPAN - 0.1) == Pressure(4, 80)
    assert recent.see(sample(), 5.0 + SPAN) == Pressure(1, 30), "of 10.0"
    assert recent.see(sample(), 10.0 + SPAN) == EMPTY


def test_more_waiting_requests_than_count_are_one_and_the_same() -> None:
    assert RecentPressure().see(sample(5), 0.0) == RecentPressure().see(sample(900), 0.0) == Pressure(5, 0)


def test_a_step_is_reached_exactly() -> None:
    for percent in range(0, 101, KV_STEP):
        assert RecentPressure().see(sample(kv=percent / 100), 0.0).kv == percent
        assert RecentPressure().see(sample(kv=(percent - 0.01) / 100), 0.0).kv == max(0, percent - KV_STEP)


@given(st.lists(SAMPLES, min_size=1, max_size=60))
def test_it_is_the_most_of_the_last_minute_and_never_out_of_range(
    gaps: list[tuple[float, float, float]],
) -> None:
    recent, now = RecentPressure(), 0.0
    seen: list[tuple[float, float, float]] = []
    for gap, waiting, kv in gaps:
        now += gap
        seen.append((now, waiting, kv))
        told = recent.see(sample(waiting, kv), now)
        lately = [each for each in seen if now < each[0] + SPAN]
        assert told.waiting == min(MOST_WAITING, int(max(each[1] for each in lately)))
        most = min(1.0, max(0.0, *(each[2] for each in lately))) * 100
        assert told.kv <= most + 1e-6 < told.kv + KV_STEP + 1e-5
        assert (told.kv % KV_STEP, 0 <= told.kv <= 100) == (0, True)


def test_a_replica_reports_only_a_change_of_it_and_forgets_it_with_the_engine() -> None:
    full = Pressure(5, 90)
    pressed, effects = step(READY, Pressed(1, full), 0.0)
    assert (pressed.pressure, len(effects)) == (full, 1)
    assert step(pressed, Pressed(1, full), 1.0) == (pressed, ())
    assert step(pressed, Pressed(2, EMPTY), 1.0) == (pressed, ()), "of another engine life"
    assert after(pressed, Ended(1, "it died")).pressure == EMPTY
    asleep = after(evolve(pressed, can_sleep=True), SleepAsked(1))
    assert after(asleep, Pressed(1, EMPTY)).pressure == EMPTY, "a sleeper has nothing left after a minute"
