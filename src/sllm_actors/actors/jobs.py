"""Background work of an actor: tasks that begin with ``Context.start_soon`` and never outlive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from .activity import Background, current

if TYPE_CHECKING:
    from .cell import ActorCell


class Job:
    """One task. Its cell holds it until it is over, and ends only after that."""

    __slots__ = ("_background", "_cell", "scope")

    def __init__(self, cell: ActorCell, background: Background) -> None:
        self._cell = cell
        self._background = background
        self.scope = anyio.CancelScope()

    async def run(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """Run the work. The other guard: its ``Exception`` ends its actor, never the task group."""
        current.set(self._background)
        failure: Exception | None = None
        with self.scope:
            try:
                await func(*args)
            except Exception as error:  # noqa: BLE001 - reported as the actor's failure
                failure = error
        self._cell.job_ended(self, failure)
