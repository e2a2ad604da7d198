"""What others ask of a supervisor, and how it ends, on the pure core."""

from __future__ import annotations

import pytest

from sllm_actors.actors import (
    AT_ONCE,
    KILLED,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    SHUTDOWN,
    TEMPORARY,
    Backoff,
    ChildSpec,
    Restart,
    SupervisorSpec,
)
from sllm_actors.actors import effects as fx
from sllm_actors.actors.supervision_state import ChildPhase

from .supervised import CRASH, World, child

ABC = (child("a"), child("b"), child("c"))
SLOW = Backoff(first=1.0)


def test_a_child_that_was_added_is_answered_for_when_it_is_up() -> None:
    world = World()
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    assert world.answers == {}
    world.up("a")
    assert world.answers == {1: None}


def test_an_added_child_that_does_not_start_is_forgotten_and_counts_no_restart() -> None:
    world = World(max_restarts=0)
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    world.fails_to_start("a")
    assert world.answers == {1: "child 'a' did not start: failed: Crash"}
    assert world.state.children == {}
    assert world.ended is None


def test_an_id_is_taken_only_once() -> None:
    world = World(child("a"))
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    assert world.answers == {1: "child 'a': a child with this id exists already"}
    with pytest.raises(ValueError, match="two children with the id 'a'"):
        SupervisorSpec("top", children=(ChildSpec("a", object), ChildSpec("a", object)))  # type: ignore[arg-type]


def test_a_terminated_child_is_kept_can_be_restarted_and_can_be_deleted() -> None:
    world = World(child("a"))
    world.begin()
    world.apply(fx.Delete("a", 0))
    world.apply(fx.Revive("a", 1))
    world.apply(fx.Terminate("a", token=2))
    world.exits("a", SHUTDOWN)
    world.apply(fx.Revive("a", 3))
    world.up("a")
    world.apply(fx.Terminate("a", token=4))
    world.exits("a", SHUTDOWN)
    world.apply(fx.Terminate("a", token=5))
    world.apply(fx.Delete("a", 6))
    world.apply(fx.Delete("a", 7))
    no, gone = "child 'a': it is not down", "child 'a': there is no such child"
    assert world.answers == {0: no, 1: no, 2: None, 3: None, 4: None, 5: None, 6: None, 7: gone}


def test_a_restart_by_request_that_fails_leaves_the_child_down() -> None:
    world = World(child("a"))
    world.begin()
    world.apply(fx.Terminate("a"))
    world.exits("a", SHUTDOWN)
    world.apply(fx.Revive("a", 1))
    world.fails_to_start("a")
    assert "did not start" in str(world.answers[1])
    assert world.state.children["a"].phase is ChildPhase.DOWN


def test_a_child_that_was_added_and_up_is_kept_when_a_later_start_by_request_fails() -> None:
    world = World()
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    world.up("a")
    world.apply(fx.Terminate("a", token=2))
    world.exits("a", SHUTDOWN)
    world.apply(fx.Revive("a", 3))
    world.fails_to_start("a")
    assert list(world.state.children) == ["a"]


@pytest.mark.parametrize("restart", [PERMANENT, TEMPORARY])
def test_a_child_to_be_forgotten_is_removed_once_it_is_down(restart: Restart) -> None:
    world = World(child("a", restart))
    world.begin()
    world.apply(fx.Terminate("a", forget=True, token=1))
    assert world.answers == {}
    world.exits("a", SHUTDOWN)
    assert world.answers == {1: None}
    assert world.state.children == {}


def test_a_child_terminated_while_it_starts_answers_both() -> None:
    world = World()
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    world.apply(fx.Terminate("a", forget=True, token=2))
    world.apply(fx.NotStarted("a", CRASH))
    assert world.answers == {1: "child 'a': it was stopped while it started", 2: None}


def test_a_child_terminated_during_its_back_off_is_down_at_once() -> None:
    world = World(child("a", backoff=SLOW))
    world.begin()
    world.exits("a")
    ticket, _ = world.timers["a"]
    world.apply(fx.Terminate("a", token=1))
    assert world.answers == {1: None}
    assert world.timers == {}
    assert world.apply(fx.BackoffOver("a", ticket)) == []


def test_a_child_terminated_while_its_group_is_doomed_stays_down() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.exits("a")
    world.apply(fx.Terminate("c", token=1))
    world.rest()
    assert world.children == {"a": "up", "b": "up"}
    assert world.answers == {1: None}


def test_a_child_that_is_being_terminated_is_not_drawn_into_a_group_restart() -> None:
    world = World(*ABC, strategy=ONE_FOR_ALL)
    world.begin()
    world.apply(fx.Terminate("c", token=1))
    world.exits("a")
    world.rest()
    assert world.children == {"a": "up", "b": "up"}


def test_requests_to_a_stopping_supervisor_are_refused() -> None:
    world = World(child("a"))
    world.begin()
    world.apply(fx.Stop(SHUTDOWN))
    events: list[fx.Event] = [fx.Add(child("b"), 0), fx.Terminate("a", token=1)]
    events += [fx.Revive("a", 2), fx.Delete("a", 3)]
    for token, event in enumerate(events):
        world.apply(event)
        assert "its supervisor is stopping" in str(world.answers[token])


def test_whoever_waits_for_a_child_is_told_when_the_supervisor_stops() -> None:
    world = World()
    world.begin()
    world.apply(fx.Add(child("a"), 1))
    world.apply(fx.Stop(SHUTDOWN))
    assert world.answers == {1: "child 'a': its supervisor is stopping"}
    world.apply(fx.Started("a"))
    world.rest()
    assert world.ended is not None


def test_an_ignored_start_is_no_failure() -> None:
    world = World(child("a"), child("b", TEMPORARY), child("c"), max_restarts=0)
    world.apply(fx.Begin())
    world.fails_to_start("a", ignored=True)
    world.fails_to_start("b", ignored=True)
    world.up("c")
    assert world.opened
    assert list(world.state.children) == ["a", "c"]


# ---- the end


def test_kill_kills_all_at_once_and_again_those_that_are_stopping() -> None:
    world = World(*ABC)
    world.begin()
    world.apply(fx.Stop(SHUTDOWN))
    effects = world.apply(fx.Kill())
    assert effects == [fx.DoKill("a"), fx.DoKill("b"), fx.DoKill("c")]
    world.rest()
    assert world.ended == fx.End(KILLED, opened=True)


def test_a_second_stop_and_a_kill_after_the_end_do_nothing() -> None:
    world = World(child("a", backoff=SLOW))
    world.begin()
    world.exits("a")
    world.apply(fx.Kill())
    assert world.ended == fx.End(KILLED, opened=True)
    assert world.apply(fx.Stop(SHUTDOWN)) == []
    assert world.apply(fx.Kill()) == []


def test_children_that_end_by_themselves_while_the_supervisor_stops_are_not_restarted() -> None:
    world = World(*ABC)
    world.begin()
    world.apply(fx.Stop(SHUTDOWN))
    world.exits("a")
    world.exits("c")
    world.exits("b")
    assert world.started == ["a", "b", "c"]
    assert world.ended is not None


def test_a_child_that_was_starting_when_the_supervisor_stopped_is_waited_for() -> None:
    world = World(child("a"), child("b"), strategy=ONE_FOR_ONE)
    world.begin()
    world.exits("a")
    world.apply(fx.Stop(SHUTDOWN))
    world.exits("b")
    assert world.children == {"a": "stopping"}
    world.fails_to_start("a")
    assert world.ended is not None


def test_a_restart_that_fails_while_the_supervisor_stops_is_not_tried_again() -> None:
    world = World(child("a"), child("b"))
    world.begin()
    world.exits("a")
    world.apply(fx.Stop(SHUTDOWN))
    assert world.children == {"a": "starting", "b": "stopping"}
    world.fails_to_start("a")
    assert world.children == {"b": "stopping"}
    world.exits("b")
    assert world.ended == fx.End(SHUTDOWN, opened=True)


def test_the_default_back_off_is_short_and_at_once_is_otps() -> None:
    assert AT_ONCE.bound(10) == 0
    assert Backoff().bound(1) == pytest.approx(0.1)
