"""A world without tasks for the supervision core: children that start, end and stop when a test says so."""

from __future__ import annotations

import random
from typing import Any

from sllm_actors.actors import (
    AT_ONCE,
    ONE_FOR_ONE,
    PERMANENT,
    Actor,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ExitReason,
    Failed,
    Restart,
    Strategy,
    SupervisorSpec,
)
from sllm_actors.actors import effects as fx
from sllm_actors.actors.supervision import step
from sllm_actors.actors.supervision_state import Mode, Supervision

CRASH = Failed("Crash")


def child(
    child_id: str, restart: Restart = PERMANENT, backoff: Backoff = AT_ONCE, *, significant: bool = False
) -> ChildSpec:
    return ChildSpec(child_id, Actor, restart=restart, backoff=backoff, significant=significant)


class World:
    """Applies events to a core, checks that each effect is legal, and keeps what the children are."""

    def __init__(
        self,
        *children: ChildSpec,
        strategy: Strategy = ONE_FOR_ONE,
        max_restarts: int = 3,
        window: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        dynamic: bool = False,
    ) -> None:
        spec = SupervisorSpec(
            "top", strategy, max_restarts, window, auto_shutdown=auto_shutdown, children=children
        )
        self.state = Supervision.of(spec, random.Random(1), dynamic=dynamic)
        self.now = 0.0
        self.children: dict[str, str] = {}  # those that are not down: starting, up or stopping
        self.timers: dict[str, tuple[int, float]] = {}
        self.answers: dict[Any, str | None] = {}
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.ended: fx.End | None = None
        self.opened = False

    def apply(self, event: fx.Event) -> list[fx.Effect]:
        effects = step(self.state, event, self.now)
        for effect in effects:
            self._check(effect)
        return effects

    def _check(self, effect: fx.Effect) -> None:
        assert self.ended is None, f"{effect} after the end"
        match effect:
            case fx.DoStart():
                assert effect.spec.id not in self.children, f"{effect.spec.id} is started while it is alive"
                assert self.state.mode in (Mode.STARTING, Mode.RUNNING)
                self.children[effect.spec.id] = "starting"
                assert effect.spec.id not in self.timers, f"{effect.spec.id} is started while it waits"
                self.started.append(effect.spec.id)
            case fx.DoStop():
                assert self.children[effect.id] in ("starting", "up")
                self.children[effect.id] = "stopping"
                self.stopped.append(effect.id)
            case fx.DoKill():
                assert effect.id in self.children
                self.children[effect.id] = "stopping"
            case fx.Wait():
                assert effect.delay > 0
                assert effect.id not in self.timers, f"{effect.id} waits already"
                self.timers[effect.id] = (effect.ticket, self.now + effect.delay)
            case fx.WaitNoMore():
                del self.timers[effect.id]
            case fx.Answer():
                assert effect.token not in self.answers, f"{effect.token} is answered twice"
                self.answers[effect.token] = effect.error
            case fx.Opened():
                assert not self.opened
                self.opened = True
            case fx.End():
                assert self.children == {}, "it ends before its children"
                assert self.timers == {}, "it ends before its timers"
                assert effect.opened is self.opened
                self.ended = effect

    # what children do

    def up(self, *ids: str) -> None:
        """Those that are starting are up now."""
        for child_id in ids:
            assert self.children[child_id] == "starting"
            self.children[child_id] = "up"
            self.apply(fx.Started(child_id))

    def fails_to_start(self, child_id: str, *, ignored: bool = False) -> None:
        del self.children[child_id]
        self.apply(fx.NotStarted(child_id, CRASH, ignored))

    def exits(self, child_id: str, reason: ExitReason = CRASH) -> None:
        del self.children[child_id]
        self.apply(fx.Exited(child_id, reason))

    def waits_over(self, child_id: str) -> None:
        ticket, when = self.timers.pop(child_id)
        self.now = max(self.now, when)
        self.apply(fx.BackoffOver(child_id, ticket))

    def begin(self) -> None:
        """Start everything in order."""
        self.apply(fx.Begin())
        while "starting" in self.children.values():
            self.up(next(key for key, value in self.children.items() if value == "starting"))

    def rest(self) -> None:
        """Let everything that is under way succeed."""
        while self.ended is None:
            starting = [key for key, value in self.children.items() if value == "starting"]
            stopping = [key for key, value in self.children.items() if value == "stopping"]
            if starting:
                self.up(starting[0])
            elif stopping:
                self.exits(stopping[0])
            elif self.timers:
                self.waits_over(min(self.timers, key=lambda key: self.timers[key][1]))
            else:
                return
