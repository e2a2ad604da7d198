"""The events that ``supervision.step`` takes, and the effects that it returns."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import frozen

from .exits import ExitReason
from .specs import Spec

Token: TypeAlias = Any
"""Stands for somebody who waits for a request's outcome; the core only hands it back."""


@frozen
class Begin:
    """The supervisor is to start its children."""


@frozen
class Started:
    """A child is up."""

    id: str


@frozen
class NotStarted:
    """A child's start failed. ``ignored``: it asked not to be started, which is no failure."""

    id: str
    reason: ExitReason
    ignored: bool = False


@frozen
class Exited:
    """A child that was up, or was being stopped, has ended."""

    id: str
    reason: ExitReason


@frozen
class BackoffOver:
    """The delay of a ``Wait`` has passed."""

    id: str
    ticket: int


@frozen
class Add:
    """Somebody wants a new child."""

    spec: Spec
    token: Token = None


@frozen
class Terminate:
    """Somebody wants a child stopped; ``forget`` it as well, or keep its spec for ``Revive``."""

    id: str
    forget: bool = False
    token: Token = None


@frozen
class Revive:
    """Somebody wants a child started that is down."""

    id: str
    token: Token = None


@frozen
class Delete:
    """Somebody wants a child that is down forgotten."""

    id: str
    token: Token = None


@frozen
class Stop:
    """The supervisor is to stop its children and end."""

    reason: ExitReason


@frozen
class Kill:
    """The supervisor is to kill its children and end."""


Event: TypeAlias = (
    Begin | Started | NotStarted | Exited | BackoffOver | Add | Terminate | Revive | Delete | Stop | Kill
)


@frozen
class DoStart:
    """Start the child; report ``Started`` or ``NotStarted``."""

    spec: Spec


@frozen
class DoStop:
    """Ask the child to stop, kill it after its budget; report ``Exited``."""

    id: str


@frozen
class DoKill:
    """Kill the child; report ``Exited``."""

    id: str


@frozen
class Wait:
    """Report ``BackoffOver`` with this ticket after ``delay`` seconds."""

    id: str
    ticket: int
    delay: float


@frozen
class WaitNoMore:
    """End the ``Wait`` of this child before its time; no ``BackoffOver`` is wanted."""

    id: str


@frozen
class Answer:
    """Tell whoever waits under the token: ``error`` None for success, else a sentence."""

    token: Token
    id: str
    error: str | None = None


@frozen
class Opened:
    """All children were started."""


@frozen
class End:
    """All children are down; the supervisor has ended. ``opened``: whether ``Opened`` came before."""

    reason: ExitReason
    opened: bool


Effect: TypeAlias = DoStart | DoStop | DoKill | Wait | WaitNoMore | Answer | Opened | End
