"""The messages that a supervisor's ref takes from its own process: to change and to list its children.

A request that fails is answered with ``RemoteFailure("StartFailed", …)``.
"""

from __future__ import annotations

from attrs import frozen

from .reference import ActorRef
from .specs import Spec
from .supervision_state import ChildPhase


@frozen
class StartChild:
    """Start a new child; answered by its ref once it is up."""

    spec: Spec


@frozen
class TerminateChild:
    """Stop a child; its spec is kept, unless it is temporary. Answered by None once it has ended."""

    id: str


@frozen
class RestartChild:
    """Start a child that is down and not about to be restarted; answered by its ref once it is up."""

    id: str


@frozen
class DeleteChild:
    """Forget a child that is down; answered by None."""

    id: str


@frozen
class WhichChildren:
    """Answered by a tuple of ``ChildState``, in start order."""


@frozen
class CountChildren:
    """Answered by ``ChildCounts``."""


@frozen
class ChildState:
    """One child as it is now; ``ref`` is None while it is down or waits to be restarted."""

    id: str
    phase: ChildPhase
    ref: ActorRef | None
    spec: Spec


@frozen
class ChildCounts:
    """How many children there are (``specs``), how many live now (``active``), and of which kind they are."""

    specs: int
    active: int
    supervisors: int
    workers: int
