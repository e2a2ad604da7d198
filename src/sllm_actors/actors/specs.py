"""How a supervisor starts, restarts and stops its children: Erlang/OTP's child specifications."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from attrs import Attribute, field, frozen, validators

from .backoff import DEFAULT_BACKOFF, Backoff
from .exits import ExitReason
from .mailbox import DEFAULT_LIMITS, MailboxLimits


class Startable(Protocol):
    """What a factory makes: an ``Actor``, whose docstrings say what these hooks promise."""

    context: Any

    async def started(self) -> None:
        """Get ready."""

    async def receive(self, message: Any) -> Any:
        """Handle one message."""

    async def stopped(self, reason: ExitReason) -> None:
        """Clean up."""


class Restart(Enum):
    """When a child that ended on its own is started again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(Enum):
    """Which children are restarted when one of them is."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class AutoShutdown(Enum):
    """Whether a supervisor ends itself when its significant children have ended on their own."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


PERMANENT: Final = Restart.PERMANENT
TRANSIENT: Final = Restart.TRANSIENT
TEMPORARY: Final = Restart.TEMPORARY
ONE_FOR_ONE: Final = Strategy.ONE_FOR_ONE
ONE_FOR_ALL: Final = Strategy.ONE_FOR_ALL
REST_FOR_ONE: Final = Strategy.REST_FOR_ONE


def _not_permanent(spec: ChildSpec | SupervisorSpec, _attribute: Attribute[bool], significant: bool) -> None:
    if significant and spec.restart is PERMANENT:
        raise ValueError(
            f"child {spec.id!r} is permanent, so it cannot be significant: make it transient or temporary"
        )


@frozen(kw_only=False)
class ChildSpec:
    """An actor that a supervisor starts and keeps running.

    Attributes:
        id: Unique among its siblings.
        factory: Makes the actor; called anew for each start, in the first turn of the new actor.
        restart: ``PERMANENT``: restarted whenever it ended; ``TRANSIENT``: unless it ended normally or by
            shutdown; ``TEMPORARY``: never, and forgotten once it has ended.
        shutdown: Seconds that the actor has, once asked to stop, to finish its message and its ``stopped``
            hook before it is killed; the time its children take to stop does not count. 0 kills at once,
            ``math.inf`` waits for ever.
        significant: Whether its end counts for the supervisor's ``auto_shutdown``; not for a permanent child.
        name: Registered while the actor lives, so that refs by name follow its restarts.
        mailbox: How much the mailbox holds, and which messages it refuses when it is full.
        backoff: How long to wait before a restart.

    Raises:
        ValueError: The child is permanent and significant, or ``shutdown`` is negative.
    """

    id: str
    factory: Callable[[], Startable]
    restart: Restart = PERMANENT
    shutdown: float = field(default=5.0, validator=validators.ge(0))
    significant: bool = field(default=False, validator=_not_permanent)
    name: str | None = None
    mailbox: MailboxLimits = DEFAULT_LIMITS
    backoff: Backoff = DEFAULT_BACKOFF


def _distinct(
    spec: SupervisorSpec, _attribute: Attribute[tuple[Spec, ...]], children: tuple[Spec, ...]
) -> None:
    seen: set[str] = set()
    for child in children:
        if child.id in seen:
            raise ValueError(f"supervisor {spec.id!r} has two children with the id {child.id!r}")
        seen.add(child.id)
        if child.significant and spec.auto_shutdown is AutoShutdown.NEVER:
            raise ValueError(
                f"child {child.id!r} is significant, but supervisor {spec.id!r} has no auto_shutdown"
            )


@frozen(kw_only=False)
class SupervisorSpec:
    """A supervisor and its children; may itself be a child.

    Attributes:
        id: Unique among its siblings.
        strategy: Which children are restarted when one of them is.
        max_restarts: More restarts than this within ``window`` seconds end the supervisor with a failure,
            which is then its own supervisor's to handle. A restart that fails counts too.
        window: The sliding window, in seconds.
        auto_shutdown: Whether the supervisor ends itself, by shutdown, when significant children have ended
            on their own.
        children: Started in this order, one after the other, and stopped in the reverse.
        restart: As in ``ChildSpec``.
        shutdown: As in ``ChildSpec``; the default leaves the children their own budgets.
        significant: As in ``ChildSpec``.
        name: As in ``ChildSpec``.
        backoff: As in ``ChildSpec``.

    Raises:
        ValueError: Two children have one id, a child is significant without ``auto_shutdown``, the supervisor
            is permanent and significant, or a number is out of its range.
    """

    id: str
    strategy: Strategy = ONE_FOR_ONE
    max_restarts: int = field(default=3, validator=validators.ge(0))
    window: float = field(default=5.0, validator=validators.gt(0))
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    children: tuple[Spec, ...] = field(default=(), validator=_distinct)
    restart: Restart = PERMANENT
    shutdown: float = field(default=math.inf, validator=validators.ge(0))
    significant: bool = field(default=False, validator=_not_permanent)
    name: str | None = None
    backoff: Backoff = DEFAULT_BACKOFF


Spec: TypeAlias = ChildSpec | SupervisorSpec
"""Anything that can be a child."""
