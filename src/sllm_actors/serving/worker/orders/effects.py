"""What the worker is to do, as the assignments say. Pure."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import InspectSource, ReplicaOrder, ReplicaReport


@frozen
class Check:
    """Find out whether the replica can run here, and call ``checked`` with the number."""

    key: ReplicaKey
    number: int
    question: InspectSource


@frozen
class Start:
    """Start the replica's actor, and call ``ended`` when it could not be started or has ended."""

    order: ReplicaOrder


@frozen
class Retire:
    """Let the replica drain and stop; with ``if_idle`` it may decline, and runs on.

    ``patience`` is how many seconds its requests get to end; None: its drain timeout.
    """

    key: ReplicaKey
    reason: str
    if_idle: bool = False
    patience: float | None = None


@frozen
class PassOn:
    """Tell the replica, which runs, what it is to be now."""

    order: ReplicaOrder


@frozen
class ChangeTier:
    """Let the replica, which runs, be asleep at a level, if it is idle; or be ready, if that is None.

    ``patience`` is how many seconds its requests get to end; None: a short time, after which it declines.
    """

    key: ReplicaKey
    level: int | None
    patience: float | None = None


@frozen
class Say:
    """Report the replica. The report has attempt 0 and no time: the shell knows both."""

    report: ReplicaReport


@frozen
class SayGone:
    """Report that there is no such replica here, until ``Forget``: the head waits to hear that it stopped."""

    key: ReplicaKey


@frozen
class Forget:
    """Report nothing of that replica any more."""

    key: ReplicaKey


@frozen
class Refuse:
    """Remember that the worker could not run this."""

    question: InspectSource
    problem: str


@frozen
class Welcome:
    """Say that the worker may accept now what it refused before."""


Effect: TypeAlias = Check | Start | Retire | PassOn | ChangeTier | Say | SayGone | Forget | Refuse | Welcome
