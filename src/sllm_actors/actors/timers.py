"""A message to oneself, later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .deadlines import Deadline

if TYPE_CHECKING:
    from .actor_cell import ActorCell


class Timer(Deadline):
    """A message that an actor sends itself at a time; made by ``Context.after``."""

    __slots__ = ("_cell", "message")

    def __init__(self, cell: ActorCell, message: Any) -> None:
        super().__init__()
        self._cell: ActorCell | None = cell
        self.message = message

    @property
    def live(self) -> bool:
        """Whether the message is still to be handled."""
        return self._cell is not None

    def cancel(self) -> None:
        """Cancel the timer: its message is not handled after this, even if the time has come already."""
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.system.deadlines.cancel(self)
            if cell.own is not None:
                cell.own.timers.discard(self)

    def fire(self) -> None:
        if self._cell is not None:
            self._cell.notify_first(self)

    def take(self) -> bool:
        """Count the message as handled; False when it was cancelled first."""
        live = self.live
        self.cancel()
        return live
