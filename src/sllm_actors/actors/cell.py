"""What actors and supervisors have in common: number, name, watchers, parent, and a budget for their end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog

from .asking import Port
from .deadlines import Deadline
from .errors import AskError
from .exits import ExitReason
from .identity import Address
from .network import Metadata
from .reference import ActorRef
from .specs import Spec

if TYPE_CHECKING:
    from .system import ActorSystem

log = structlog.get_logger("sllm_actors.actors")


class Parent:
    """What a cell reports to: a supervisor, or the actor or system that a supervisor belongs to."""

    __slots__ = ()

    def child_started(self, cell: Cell, /) -> None:
        """The child is up."""
        raise NotImplementedError

    def child_not_started(self, cell: Cell, reason: ExitReason, ignored: bool, /) -> None:
        """The child has ended without having been up; ``ignored``: it said that it is not needed."""
        raise NotImplementedError

    def child_ended(self, cell: Cell, reason: ExitReason, /) -> None:
        """The child was up, and has ended."""
        raise NotImplementedError


class Cell:
    """One incarnation of an actor or supervisor, as the system knows it."""

    __slots__ = (
        "_budget",
        "_kill_at",
        "_label",
        "dead",
        "name",
        "number",
        "parent",
        "spec",
        "system",
        "watchers",
    )

    def __init__(self, system: ActorSystem, number: int, spec: Spec, parent: Parent) -> None:
        self.system = system
        self.number = number
        self.spec: Spec = spec
        self.name = spec.name
        self.parent = parent
        self.dead = False
        self.watchers: dict[Any, Any] | None = None  # see watching.Monitors
        self._budget: Budget | None = None
        self._kill_at = math.inf
        self._label: str | None = None

    @property
    def label(self) -> str:
        """The actor as ``node/number``."""
        if self._label is None:
            self._label = f"{self.system.node}/{self.number}"
        return self._label

    @property
    def ref(self) -> ActorRef:
        """A ref to this incarnation."""
        return ActorRef(self.system, self.system.node, self.number, cell=self)

    @property
    def address(self) -> Address:
        """The address under which peers reach this incarnation now."""
        return Address(self.system.node, self.system.incarnation, self.number)

    def __str__(self) -> str:
        return f"{self.label} ({self.name or self.spec.id})"

    def open(self) -> None:
        """Begin to live; report to the parent when that has succeeded or failed."""
        raise NotImplementedError

    def deliver(self, message: Any, port: Port | None, metadata: Metadata, /) -> None:
        """Take a message, or refuse it to whoever asked."""
        raise NotImplementedError

    def stop(self, reason: ExitReason) -> None:
        """End in good order, within ``spec.shutdown`` seconds."""
        raise NotImplementedError

    def kill(self) -> None:
        """End now, without the ``stopped`` hook."""
        raise NotImplementedError

    def refuse(self, message: Any, port: Port | None, reason: str, error: type[AskError]) -> None:
        """Count a message that is not taken as a dead letter, and answer its asker with ``error``."""
        if port is not None:
            port.resolve(error(f"{self}: {reason}"))
        self.system.dead_letters.count(message, self.address, reason, self.system.clock.now())

    def _finish(self, reason: ExitReason) -> None:
        """End for good: leave the system's tables and tell the watchers; the subclass tells the parent."""
        self.dead = True
        if self._budget is not None:
            self.system.deadlines.cancel(self._budget)
            self._budget = None
        self.system.forget(self)
        if self.watchers is not None:
            self.system.monitors.ended(self, reason)

    # ---- the budget

    def _arm_budget(self) -> None:
        """Start the time that the spec allows for the end; nothing if it runs already."""
        if self._budget is None and 0 < self.spec.shutdown < math.inf:
            self._budget = Budget(self)
            self._kill_at = self.system.deadlines.add(self._budget, self.spec.shutdown)

    def _suspend_budget(self) -> None:
        """Halt the time while the children end, which have budgets of their own."""
        if self._budget is not None and self._budget.armed:
            self.system.deadlines.cancel(self._budget)
            self._kill_at -= self.system.clock.now()  # a time becomes the seconds that are left

    def _resume_budget(self) -> None:
        if self._budget is not None and not self._budget.armed:
            self._budget = Budget(self)
            self._kill_at = self.system.deadlines.add(self._budget, max(0.0, self._kill_at))


class Budget(Deadline):
    """Kills a cell that takes too long to end."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._cell = cell

    def fire(self) -> None:
        log.warning("actor.killed", actor=str(self._cell), cause="it did not end within its shutdown budget")
        self._cell.kill()
