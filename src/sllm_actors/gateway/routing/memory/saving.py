"""When the snapshot of the gateway is written: soon after a change, again after a failure, and at the end."""

from __future__ import annotations

from typing import Any, Final

import anyio
import structlog

from sllm_actors.actors import Context, Timer

from .memory import Memory

log = structlog.get_logger()

SAVE_DELAY = 1.0
"""Seconds from a change of what the head says until it is on disk: changes that come together go together."""

SAVE_AGAIN = 30.0
"""Seconds until the snapshot is written again when that has failed."""

LAST_SAVE: Final = 2.0
"""Seconds that writing what is unsaved may take when the gateway stops."""


class Saving:
    """Saves the memory of a gateway's actor, in a task of that actor, one write at a time.

    Args:
        context: The actor's.
        memory: What is saved.
        due: The message with which the actor is reminded; it then calls ``begin``.
    """

    def __init__(self, context: Context, memory: Memory, due: Any) -> None:
        self._context = context
        self._memory = memory
        self._due = due
        self._timer: Timer | None = None
        self._writing = False
        if memory.unsaved:  # the life before this one was not done
            self._remind_in(SAVE_DELAY)

    def changed(self) -> None:
        """Take note that there is something to save."""
        self._memory.unsaved = True
        self._remind_in(SAVE_DELAY)

    def begin(self) -> None:
        """Begin to save: the actor was reminded."""
        self._timer, self._writing = None, True
        self._context.start_soon(self._save)

    async def finish(self) -> None:
        """Save what is unsaved, within ``LAST_SAVE``: the actor stops."""
        if self._memory.unsaved:
            with anyio.move_on_after(LAST_SAVE) as scope:
                await self._memory.save()
            if scope.cancelled_caught:
                log.warning("snapshot.not_saved", path=str(self._memory.file.path), error="it took too long")

    async def _save(self) -> None:
        saved = await self._memory.save()
        self._writing = False
        if self._memory.unsaved:  # it has changed again, or could not be written
            self._remind_in(SAVE_DELAY if saved else SAVE_AGAIN)

    def _remind_in(self, delay: float) -> None:
        if self._timer is None and not self._writing:
            self._timer = self._context.after(delay, self._due)
