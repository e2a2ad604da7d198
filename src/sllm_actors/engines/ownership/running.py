"""The engine processes of a worker that run now, so that the time to end can be cut for all of them."""

from __future__ import annotations

import math
from typing import Protocol


class Hurried(Protocol):
    """A process whose time to end can be cut."""

    def hurry(self, budget: float) -> None:
        """Allow at most ``budget`` seconds for the end, from now on if the process is ending already."""


class RunningEngines:
    """The engine processes of a worker. One that is added after ``hurry`` is hurried, too."""

    def __init__(self) -> None:
        self._engines: set[Hurried] = set()
        self._budget = math.inf

    def add(self, engine: Hurried) -> None:
        """Add an engine that starts."""
        self._engines.add(engine)
        if self._budget < math.inf:
            engine.hurry(self._budget)

    def remove(self, engine: Hurried) -> None:
        """Remove an engine of which nothing is left."""
        self._engines.discard(engine)

    def hurry(self, budget: float) -> None:
        """Give every engine at most so many seconds between SIGTERM and SIGKILL from now on."""
        self._budget = min(self._budget, budget)
        for engine in self._engines:
            engine.hurry(self._budget)
