"""Back-off between restarts, and significant children, on the pure core."""

from __future__ import annotations

import pytest

from sllm_actors.actors import (
    NORMAL,
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    Backoff,
)
from sllm_actors.actors import effects as fx
from sllm_actors.actors.supervision_state import Mode

from .supervised import World, child

ABC = (child("a"), child("b"), child("c"))
SLOW = Backoff(first=1.0)


def test_under_one_for_one_nobody_else_waits_for_a_back_off() -> None:
    world = World(child("a", backoff=SLOW), child("b"))
    world.begin()
    world.exits("a")
    assert world.timers.keys() == {"a"}
    world.exits("b")
    assert world.children == {"b": "starting"}
    world.waits_over("a")
    assert world.children == {"b": "starting", "a": "starting"}


def test_a_group_waits_for_the_back_off_of_the_one_that_failed() -> None:
    world = World(child("a"), child("b", backoff=SLOW), strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("b")
    world.exits("a")
    assert world.children == {}
    world.waits_over("b")
    assert world.children == {"a": "starting"}


def test_the_bound_of_the_back_off_grows_until_the_child_was_healthy_for_long_enough() -> None:
    world = World(child("a", backoff=Backoff(first=1.0, reset_after=60)), max_restarts=100)
    world.begin()
    for _ in range(3):
        world.exits("a")
        world.waits_over("a")
        world.up("a")
    assert world.state.children["a"].failures == 3
    world.now += 59
    world.exits("a")
    assert world.state.children["a"].failures == 4
    world.waits_over("a")
    world.up("a")
    world.now += 60
    world.exits("a")
    assert world.state.children["a"].failures == 1


def test_a_back_off_that_is_over_too_late_is_ignored() -> None:
    world = World(child("a", backoff=SLOW))
    world.begin()
    world.exits("a")
    ticket, _ = world.timers["a"]
    assert world.apply(fx.BackoffOver("a", ticket - 1)) == []
    world.waits_over("a")
    assert world.apply(fx.BackoffOver("a", ticket)) == []
    assert world.apply(fx.BackoffOver("nobody", 1)) == []


def test_a_new_failure_of_the_group_ends_the_back_off_of_its_members() -> None:
    world = World(child("a"), child("b", backoff=SLOW), strategy=REST_FOR_ONE)
    world.begin()
    world.exits("b")
    assert "b" in world.timers
    world.exits("a")
    world.up("a")
    assert world.children == {"a": "up", "b": "starting"}


def test_stopping_ends_a_back_off() -> None:
    world = World(child("a", backoff=SLOW))
    world.begin()
    world.exits("a")
    world.apply(fx.Stop(SHUTDOWN))
    assert world.ended == fx.End(SHUTDOWN, opened=True)


def test_a_child_that_crashes_during_the_first_start_of_the_others_is_restarted() -> None:
    world = World(child("a", backoff=SLOW), child("b"))
    world.apply(fx.Begin())
    world.up("a")
    world.exits("a")
    world.up("b")
    assert not world.opened
    world.waits_over("a")
    world.up("a")
    assert world.opened


# ---- significant children


def significant(mode: AutoShutdown) -> World:
    children = (
        child("a", TRANSIENT, significant=True),
        child("b", TEMPORARY, significant=True),
        child("c"),
    )
    world = World(*children, auto_shutdown=mode)
    world.begin()
    return world


def test_any_significant_child_that_ends_well_ends_the_supervisor() -> None:
    world = significant(AutoShutdown.ANY_SIGNIFICANT)
    world.exits("a", NORMAL)
    world.rest()
    assert world.ended == fx.End(SHUTDOWN, opened=True)


def test_a_significant_temporary_child_ends_the_supervisor_even_by_a_crash() -> None:
    world = significant(AutoShutdown.ANY_SIGNIFICANT)
    world.exits("b")
    world.rest()
    assert world.ended == fx.End(SHUTDOWN, opened=True)


def test_the_last_significant_child_ends_the_supervisor() -> None:
    world = significant(AutoShutdown.ALL_SIGNIFICANT)
    world.exits("b")
    assert world.state.mode is Mode.RUNNING
    world.exits("a", NORMAL)
    world.rest()
    assert world.ended is not None


def test_a_significant_child_that_is_restarted_or_stopped_by_request_ends_nothing() -> None:
    world = significant(AutoShutdown.ANY_SIGNIFICANT)
    world.exits("a")
    world.rest()
    world.apply(fx.Terminate("b", token=1))
    world.rest()
    assert world.ended is None
    assert world.answers == {1: None}


def test_a_child_that_cannot_be_significant_is_refused() -> None:
    with pytest.raises(ValueError, match="permanent, so it cannot be significant"):
        child("a", PERMANENT, significant=True)
    with pytest.raises(ValueError, match="no auto_shutdown"):
        World(child("a", TRANSIENT, significant=True))
    world = World()
    world.begin()
    world.apply(fx.Add(child("a", TRANSIENT, significant=True), 1))
    assert "no auto_shutdown" in str(world.answers[1])
