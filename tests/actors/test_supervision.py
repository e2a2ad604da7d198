"""The rules of OTP's supervisor, one by one, on the pure core."""

from __future__ import annotations

import pytest

from sllm_actors.actors import (
    KILLED,
    NORMAL,
    ONE_FOR_ALL,
    PERMANENT,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    Backoff,
    ExitReason,
    Failed,
    Restart,
    Strategy,
)
from sllm_actors.actors import effects as fx

from .supervised import CRASH, World, child

ABC = (child("a"), child("b"), child("c"))
SLOW = Backoff(first=1.0)


def test_children_start_one_after_the_other_in_order() -> None:
    world = World(*ABC)
    world.apply(fx.Begin())
    assert world.started == ["a"]
    world.up("a")
    assert world.started == ["a", "b"]
    assert not world.opened
    world.up("b")
    world.up("c")
    assert world.opened


def test_a_supervisor_without_children_is_open_at_once() -> None:
    world = World()
    world.begin()
    assert world.opened


def test_a_failed_first_start_stops_the_earlier_ones_in_reverse_and_is_the_reason() -> None:
    world = World(*ABC)
    world.apply(fx.Begin())
    world.up("a")
    world.up("b")
    world.fails_to_start("c")
    assert world.stopped == ["b"]
    world.exits("b", SHUTDOWN)
    world.exits("a", SHUTDOWN)
    assert world.ended == fx.End(Failed("StartFailed", "child 'c': failed: Crash"), opened=False)


def test_children_stop_one_after_the_other_in_reverse_order() -> None:
    world = World(*ABC)
    world.begin()
    world.apply(fx.Stop(SHUTDOWN))
    assert world.stopped == ["c"]
    world.exits("c")
    world.exits("b")
    assert world.stopped == ["c", "b", "a"]
    assert world.ended is None
    world.exits("a")
    assert world.ended == fx.End(SHUTDOWN, opened=True)


def test_children_of_a_dynamic_supervisor_stop_all_at_once() -> None:
    world = World(dynamic=True)
    world.begin()
    for each in ABC:
        world.apply(fx.Add(each, each.id))
        world.up(each.id)
    world.apply(fx.Stop(SHUTDOWN))
    assert sorted(world.stopped) == ["a", "b", "c"]
    world.rest()
    assert world.ended is not None


@pytest.mark.parametrize(
    ("restart", "reason", "comes_back"),
    [
        (PERMANENT, NORMAL, True),
        (PERMANENT, SHUTDOWN, True),
        (PERMANENT, CRASH, True),
        (TRANSIENT, NORMAL, False),
        (TRANSIENT, SHUTDOWN, False),
        (TRANSIENT, CRASH, True),
        (TRANSIENT, KILLED, True),
        (TEMPORARY, NORMAL, False),
        (TEMPORARY, SHUTDOWN, False),
        (TEMPORARY, CRASH, False),
    ],
)
def test_who_is_restarted_after_what(restart: Restart, reason: ExitReason, comes_back: bool) -> None:
    world = World(child("a", restart))
    world.begin()
    world.exits("a", reason)
    assert ("a" in world.children) is comes_back
    assert ("a" in world.state.children) is (restart is not TEMPORARY)


def test_under_one_for_one_only_the_failed_child_restarts() -> None:
    world = World(*ABC)
    world.begin()
    world.exits("b")
    assert world.started == ["a", "b", "c", "b"]
    assert world.stopped == []


def test_under_one_for_all_the_others_stop_in_reverse_and_all_start_in_order() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("b")
    world.rest()
    assert world.stopped == ["c", "a"]
    assert world.started[3:] == ["a", "b", "c"]


def test_under_rest_for_one_only_the_later_ones_restart() -> None:
    world = World(*ABC, strategy=REST_FOR_ONE)
    world.begin()
    world.exits("b")
    world.rest()
    assert world.stopped == ["c"]
    assert world.started[3:] == ["b", "c"]


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
def test_a_group_restart_waits_until_each_child_is_down_before_anything_starts(strategy: Strategy) -> None:
    world = World(*ABC, strategy=strategy)
    world.begin()
    world.exits("a")
    assert world.children == {"b": "up", "c": "stopping"}
    world.exits("c")
    assert world.children == {"b": "stopping"}
    assert world.started == ["a", "b", "c"]
    world.exits("b")
    assert world.children == {"a": "starting"}


def test_a_second_failure_in_the_middle_of_a_group_restart_joins_it() -> None:
    world = World(*ABC, strategy=REST_FOR_ONE)
    world.begin()
    world.exits("b")
    world.exits("a")  # while c stops
    world.rest()
    assert world.started[3:] == ["a", "b", "c"]
    assert len(world.state.restarts) == 2


def test_a_doomed_child_that_ends_by_itself_is_not_counted_as_a_failure() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("b")
    world.exits("a")  # it was to be stopped after c
    world.rest()
    assert len(world.state.restarts) == 1
    assert world.children == {"a": "up", "b": "up", "c": "up"}


def test_a_child_that_was_starting_when_its_group_was_doomed_stops_first() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("a")
    world.exits("c")
    world.exits("b")
    world.up("a")
    assert world.children["b"] == "starting"
    world.exits("a")
    assert world.children["b"] == "stopping"
    world.apply(fx.Started("b"))  # it had been on its way
    assert world.children == {"b": "stopping"}
    world.rest()
    assert world.children == {"a": "up", "b": "up", "c": "up"}


def test_temporary_children_are_forgotten_by_a_group_restart() -> None:
    world = World(child("a"), child("b", TEMPORARY), strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("a")
    world.rest()
    assert list(world.state.children) == ["a"]


def test_a_group_restart_starts_those_again_that_had_ended_well() -> None:
    world = World(child("a", TRANSIENT), child("b"), strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("a", NORMAL)
    assert world.children == {"b": "up"}
    world.exits("b")
    world.rest()
    assert world.children == {"a": "up", "b": "up"}


# ---- intensity


def test_one_restart_more_than_allowed_in_the_window_ends_the_supervisor() -> None:
    world = World(child("a"), child("b"), max_restarts=2, window=10)
    world.begin()
    for _ in range(2):
        world.exits("a")
        world.up("a")
    world.exits("a")
    assert world.stopped == ["b"]
    world.rest()
    assert world.ended is not None
    assert isinstance(world.ended.reason, Failed)
    assert world.ended.reason.type_name == "RestartIntensity"
    assert "child 'a', failed: Crash" in world.ended.reason.message


def test_restarts_that_have_left_the_window_do_not_count() -> None:
    world = World(child("a"), max_restarts=1, window=10)
    world.begin()
    for _ in range(20):
        world.exits("a")
        world.up("a")
        world.now += 10.1
    assert world.ended is None


def test_a_restart_that_fails_counts_and_is_tried_again() -> None:
    world = World(child("a"), max_restarts=3)
    world.begin()
    world.exits("a")
    world.fails_to_start("a")
    world.fails_to_start("a")
    assert world.children == {"a": "starting"}
    world.fails_to_start("a")
    assert world.ended is not None
    assert world.started == ["a"] * 4


def test_no_restarts_allowed_means_the_first_failure_ends_it() -> None:
    world = World(child("a"), max_restarts=0)
    world.begin()
    world.exits("a")
    assert world.ended is not None


def test_a_failed_start_within_a_group_restart_begins_the_restart_again() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("a")
    world.exits("c")
    world.exits("b")
    world.up("a")
    world.fails_to_start("b")
    assert world.children == {"a": "stopping"}
    world.rest()
    assert world.children == {"a": "up", "b": "up", "c": "up"}
    assert len(world.state.restarts) == 2
