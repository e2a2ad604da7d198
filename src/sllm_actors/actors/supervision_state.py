"""What a supervisor knows: the state that ``supervision.step`` works on."""

from __future__ import annotations

import random
from collections import deque
from enum import Enum

from attrs import define, field

from .effects import Token
from .exits import NORMAL, ExitReason
from .specs import AutoShutdown, Spec, Strategy, SupervisorSpec


class ChildPhase(Enum):
    """Where a child is in its life."""

    DOWN = "down"
    WAITING = "waiting"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Mode(Enum):
    """Where the supervisor is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@define
class Child:
    """What a supervisor knows about one child."""

    spec: Spec
    phase: ChildPhase = ChildPhase.DOWN
    wanted: bool = True  # False: down, and to stay so
    doomed: bool = False  # its group restarts: to be stopped first
    forget: bool = False  # to be removed once down
    fresh: bool = False  # somebody's request, and not up yet: removed if that fails
    failures: int = 0  # consecutive, for the back-off
    up_since: float = 0.0
    ticket: int = 0  # of the latest Wait
    tokens: tuple[Token, ...] = ()  # who waits for it to be up, or to be down


@define
class Supervision:
    """The state of one supervisor. ``children`` are in start order."""

    strategy: Strategy
    max_restarts: int
    window: float
    auto_shutdown: AutoShutdown
    rng: random.Random
    dynamic: bool = False
    children: dict[str, Child] = field(factory=dict)
    mode: Mode = Mode.STARTING
    opened: bool = False
    reason: ExitReason = NORMAL  # why it stops
    killed: bool = False
    restarts: deque[float] = field(factory=deque)
    total_restarts: int = 0
    still_up: list[str] = field(factory=list)  # while stopping: not known to be down; the last goes first

    @classmethod
    def of(cls, spec: SupervisorSpec, rng: random.Random, *, dynamic: bool = False) -> Supervision:
        """Return the state before ``Begin``."""
        return cls(
            strategy=spec.strategy,
            max_restarts=spec.max_restarts,
            window=spec.window,
            auto_shutdown=spec.auto_shutdown,
            rng=rng,
            dynamic=dynamic,
            children={child.id: Child(child) for child in spec.children},
        )
