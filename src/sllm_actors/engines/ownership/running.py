"""The engine processes of a worker that run now, so that all can be hurried when the worker is to stop."""

from __future__ import annotations

import math
from typing import Protocol


class Hurried(Protocol):
    """What can be told to have less patience."""

    def hurry(self, budget: float) -> None:
        """End within so many seconds once it is to end, also if it is ending already."""


class RunningEngines:
    """See the module. Engines that are started after ``hurry`` are hurried, too."""

    def __init__(self) -> None:
        self._engines: set[Hurried] = set()
        self._budget = math.inf

    def add(self, engine: Hurried) -> None:
        """Take in an engine that starts."""
        self._engines.add(engine)
        if self._budget < math.inf:
            engine.hurry(self._budget)

    def remove(self, engine: Hurried) -> None:
        """Forget an engine of which nothing is left."""
        self._engines.discard(engine)

    def hurry(self, budget: float) -> None:
        """Give every engine at most so many seconds between SIGTERM and SIGKILL from now on."""
        self._budget = min(self._budget, budget)
        for engine in self._engines:
            engine.hurry(self._budget)
