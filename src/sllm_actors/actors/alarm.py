"""One timer of an actor that is set again and again, as what it waits for changes."""

from __future__ import annotations

from typing import Any

from .actor import Context
from .timers import Timer


class Alarm:
    """Sends an actor a message when something is due. Setting it to the same or a later time costs nothing,
    since it rings at the earlier one all the same.

    Args:
        context: The actor's.
        message: What it gets; it then calls ``rang``, and ``set`` if something else is due.
    """

    def __init__(self, context: Context, message: Any) -> None:
        self._context = context
        self._message = message
        self._timer: Timer | None = None
        self._at = 0.0

    def set(self, due: float | None, now: float) -> None:
        """Ring at ``due``, or at an earlier time that it was set to; None: not at all.

        Both are in seconds on the actor's clock.
        """
        if self._timer is not None and (due is None or due < self._at):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._at = due
            self._timer = self._context.after(max(0.0, due - now), self._message)

    def rang(self) -> None:
        """Take note that the message has come."""
        self._timer = None
