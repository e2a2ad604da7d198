"""Calls that are made when the work of the moment is done, never in its midst. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class Callbacks:
    """A queue of calls, made one after the other in the order in which they were added.

    What is called may add more calls, and may ask for them to be made; they follow it then. So no call is
    made within another one, and each finds its owner at rest. One that raises ends no other.

    Args:
        failed: Called with what a call has raised.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._calling = False

    def add(self, call: Callable[..., None], *arguments: Any) -> None:
        """Add a call, which ``make`` makes."""
        self._calls.append((call, arguments))

    def make(self) -> None:
        """Make all calls, unless this is called by one of them."""
        if self._calling:
            return
        self._calling = True
        try:
            while self._calls:
                call, arguments = self._calls.popleft()
                try:
                    call(*arguments)
                except Exception as error:  # noqa: BLE001 - one user's mistake must not be another's
                    self._failed(error)
        finally:
            self._calling = False
