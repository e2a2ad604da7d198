"""Whatever happens to a supervisor, in whatever order: the promises of OTP hold.

``World`` checks at each step that nothing is started twice, stopped when it is down, or done after the end.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sllm_actors.actors import (
    AT_ONCE,
    NORMAL,
    ONE_FOR_ONE,
    PERMANENT,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ExitReason,
    Failed,
    Restart,
    Strategy,
)
from sllm_actors.actors import effects as fx
from sllm_actors.actors.supervision_state import Mode

from .supervised import CRASH, World, child

MAX_RESTARTS = 3
WINDOW = 10.0

names = st.sampled_from("abcdef")
restarts = st.sampled_from(Restart)
backoffs = st.sampled_from([AT_ONCE, Backoff(first=1.0), Backoff(first=4.0, reset_after=5.0)])


@st.composite
def children(draw: st.DrawFn, auto: AutoShutdown) -> tuple[ChildSpec, ...]:
    found = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        restart = draw(restarts)
        significant = auto is not AutoShutdown.NEVER and restart is not PERMANENT and draw(st.booleans())
        found.append(child(name, restart, draw(backoffs), significant=significant))
    return tuple(found)


class SupervisorMachine(RuleBasedStateMachine):
    """Drives one supervisor; the world and the invariants are the model."""

    world: World
    auto: AutoShutdown

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.asked: set[int] = set()

    @initialize(data=st.data(), strategy=st.sampled_from(Strategy), auto=st.sampled_from(AutoShutdown))
    def begin(self, data: st.DataObject, strategy: Strategy, auto: AutoShutdown) -> None:
        self.auto = auto
        dynamic = strategy is ONE_FOR_ONE and auto is AutoShutdown.NEVER and data.draw(st.booleans())
        self.world = World(
            *(() if dynamic else data.draw(children(auto))),
            strategy=strategy,
            max_restarts=MAX_RESTARTS,
            window=WINDOW,
            auto_shutdown=auto,
            dynamic=dynamic,
        )
        self.world.apply(fx.Begin())

    def alive(self) -> bool:
        return self.world.ended is None

    def token(self) -> int:
        self.tokens += 1
        self.asked.add(self.tokens)
        return self.tokens

    def pick(self, data: st.DataObject, *states: str) -> str | None:
        fitting = sorted(key for key, value in self.world.children.items() if value in states)
        return data.draw(st.sampled_from(fitting)) if fitting else None

    @precondition(alive)
    @rule(data=st.data())
    def child_is_up(self, data: st.DataObject) -> None:
        name = self.pick(data, "starting")
        if name is not None:
            self.world.up(name)

    @precondition(alive)
    @rule(data=st.data(), ignored=st.booleans())
    def child_does_not_start(self, data: st.DataObject, ignored: bool) -> None:
        name = self.pick(data, "starting")
        if name is not None:
            self.world.fails_to_start(name, ignored=ignored)

    @precondition(alive)
    @rule(data=st.data(), reason=st.sampled_from([NORMAL, SHUTDOWN, CRASH]))
    def child_ends(self, data: st.DataObject, reason: ExitReason) -> None:
        name = self.pick(data, "up", "stopping")
        if name is not None:
            self.world.exits(name, reason)

    @precondition(alive)
    @rule(data=st.data())
    def stopping_child_was_up_after_all(self, data: st.DataObject) -> None:
        name = self.pick(data, "stopping")
        if name is not None:
            self.world.apply(fx.Started(name))

    @precondition(alive)
    @rule(data=st.data())
    def back_off_is_over(self, data: st.DataObject) -> None:
        if self.world.timers:
            self.world.waits_over(data.draw(st.sampled_from(sorted(self.world.timers))))

    @rule(seconds=st.floats(0.1, 20))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @precondition(alive)
    @rule(name=names, restart=restarts, backoff=backoffs)
    def add(self, name: str, restart: Restart, backoff: Backoff) -> None:
        self.world.apply(fx.Add(child(name, restart, backoff), self.token()))

    @precondition(alive)
    @rule(name=names, forget=st.booleans())
    def terminate(self, name: str, forget: bool) -> None:
        self.world.apply(fx.Terminate(name, forget, self.token()))

    @precondition(alive)
    @rule(name=names)
    def revive(self, name: str) -> None:
        self.world.apply(fx.Revive(name, self.token()))

    @precondition(alive)
    @rule(name=names)
    def delete(self, name: str) -> None:
        self.world.apply(fx.Delete(name, self.token()))

    # At rest the model is complete: it says exactly what one event sets off.

    @precondition(alive)
    @rule(data=st.data(), reason=st.sampled_from([NORMAL, SHUTDOWN, CRASH]))
    def child_ends_at_rest(self, data: st.DataObject, reason: ExitReason) -> None:
        world = self.world
        world.rest()
        name = self.pick(data, "up")
        if name is None or not self.alive():
            return
        spec = world.state.children[name].spec
        again = spec.restart is PERMANENT or (spec.restart is TRANSIENT and not reason.is_normal)
        recent = sum(world.now - when <= WINDOW for when in world.state.restarts)
        started, stopped = self.what_a_restart_does(name)
        before = len(world.started), len(world.stopped)
        world.exits(name, reason)
        world.rest()
        if again and recent >= MAX_RESTARTS:
            assert isinstance(world.ended, fx.End)
            assert isinstance(world.ended.reason, Failed)
        elif again:
            assert world.started[before[0] :] == started
            assert world.stopped[before[1] :] == stopped
            assert world.ended is None
        elif world.ended is not None:
            assert spec.significant
            assert world.ended.reason == SHUTDOWN
        else:
            assert (len(world.started), len(world.stopped)) == before

    def what_a_restart_does(self, name: str) -> tuple[list[str], list[str]]:
        """Return who is started and who is stopped first, in order, when ``name`` restarts at rest."""
        state, up = self.world.state, self.world.children
        order = list(state.children)
        match state.strategy:
            case Strategy.ONE_FOR_ONE:
                group = [name]
            case Strategy.REST_FOR_ONE:
                group = order[order.index(name) :]
            case Strategy.ONE_FOR_ALL:
                group = order
        started = [each for each in group if state.children[each].spec.restart is not TEMPORARY]
        return started, [each for each in reversed(group) if each in up and each != name]

    @precondition(alive)
    @rule(data=st.data())
    def child_is_terminated_at_rest(self, data: st.DataObject) -> None:
        world = self.world
        world.rest()
        name = self.pick(data, "up")
        if name is None or not self.alive():
            return
        before = len(world.started), len(world.stopped), dict(world.children)
        world.apply(fx.Terminate(name, token=self.token()))
        world.rest()
        assert world.started[before[0] :] == []
        assert world.stopped[before[1] :] == [name]
        assert world.children.keys() == before[2].keys() - {name}

    @precondition(lambda self: self.tokens > 6)
    @rule(kill=st.booleans())
    def end(self, kill: bool) -> None:
        self.world.apply(fx.Kill() if kill else fx.Stop(SHUTDOWN))

    @invariant()
    def restarts_stay_within_the_intensity(self) -> None:
        if not hasattr(self, "world"):
            return
        state = self.world.state
        if state.mode in (Mode.STARTING, Mode.RUNNING):
            recent = [when for when in state.restarts if self.world.now - when <= WINDOW]
            assert len(recent) <= MAX_RESTARTS
            assert len(state.restarts) <= MAX_RESTARTS

    @invariant()
    def a_group_starts_one_after_the_other(self) -> None:
        if not hasattr(self, "world"):
            return
        state, children = self.world.state, self.world.children
        if state.mode is Mode.STARTING and not self.asked:
            assert list(children.values()).count("starting") <= 1

    @invariant()
    def a_stop_goes_in_reverse(self) -> None:
        if not hasattr(self, "world"):
            return
        state = self.world.state
        if state.mode is Mode.STOPPING and not state.dynamic and not state.killed:
            stopping = [key for key, value in self.world.children.items() if value == "stopping"]
            order = list(state.children)
            up = [order.index(key) for key, value in self.world.children.items() if value == "up"]
            if stopping and up:  # at least the last of those that are alive has been told
                assert max(order.index(key) for key in stopping) > max(up)

    def teardown(self) -> None:
        """Let everything that is under way succeed: then the wanted children are up, or all is over."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.rest()
        if world.ended is None:
            assert world.opened
            for name, each in world.state.children.items():
                assert (name in world.children) is each.wanted, name
            assert world.children.keys() <= world.state.children.keys()
        assert self.asked == world.answers.keys()


SupervisorMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestSupervisor = pytest.mark.slow(SupervisorMachine.TestCase)
