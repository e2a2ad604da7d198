"""Which schedule holds when, in the time of its zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.decisions.schedules import Calendar
from sllm_actors.serving.deployment.schedule import Schedule

HOUR = 3600.0
WORK = Schedule(cron="0 8 * * MON-FRI", duration=10 * HOUR, time_zone="Europe/Berlin", min_instances=2)
NOON = Schedule(cron="0 12 * * *", duration=HOUR, time_zone="Europe/Berlin", max_instances=9)


def berlin(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_a_schedule_holds_from_its_time_for_its_duration() -> None:
    calendar = Calendar()
    schedules = (WORK,)
    assert calendar.at(schedules, berlin(2026, 11, 27, 7, 59)) is None
    assert calendar.until == berlin(2026, 11, 27, 8)
    assert calendar.at(schedules, berlin(2026, 11, 27, 8)) is WORK
    assert calendar.until == berlin(2026, 11, 27, 18)
    assert calendar.at(schedules, berlin(2026, 11, 27, 18)) is None
    assert calendar.until == berlin(2026, 11, 30, 8), "Monday"


def test_of_two_that_hold_the_last_one_counts() -> None:
    calendar = Calendar()
    schedules = (WORK, NOON)
    assert calendar.at(schedules, berlin(2026, 11, 27, 11)) is WORK
    assert calendar.at(schedules, berlin(2026, 11, 27, 12, 30)) is NOON
    assert calendar.at(schedules, berlin(2026, 11, 27, 13)) is WORK
    assert calendar.at((NOON, WORK), berlin(2026, 11, 27, 13)) is WORK


def test_the_hour_is_that_of_the_zone_in_summer_and_in_winter() -> None:
    assert WORK.next_start(berlin(2026, 3, 27, 9)) == berlin(2026, 3, 30, 8)
    assert WORK.last_start(berlin(2026, 10, 26, 9)) == berlin(2026, 10, 26, 8)


def test_without_a_schedule_nothing_changes() -> None:
    calendar = Calendar()
    assert calendar.at((WORK,), berlin(2026, 11, 27, 9)) is WORK
    assert calendar.at((), berlin(2026, 11, 27, 9)) is None
    assert calendar.until is None
    rare = Schedule(cron="0 0 29 2 *", duration=1.0, target=1)
    assert Calendar().at((rare,), berlin(2026, 1, 1)) is None


@given(st.lists(st.floats(0.0, 3 * 86400.0), max_size=12).map(sorted))
def test_asked_at_any_times_it_says_what_it_would_say_if_it_were_asked_first(times: list[float]) -> None:
    calendar, begun = Calendar(), berlin(2026, 11, 26)
    schedules = (WORK, NOON)
    for each in times:
        assert calendar.at(schedules, begun + each) is Calendar().at(schedules, begun + each)
