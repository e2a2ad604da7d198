"""What systems' processes used between two moments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from time import perf_counter

from .usage import processor_seconds

LOAD = "load"
"""Stands for the load program itself, among the groups of processes."""


class Window:
    """Notes the clocks when it is made, and again when it is closed.

    Args:
        groups: Processes by what they are, as ``gateway``.

    Attributes:
        seconds: How long it was open.
        processor: By group, and for the load program, the seconds of processor time used in it.
    """

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._used = self._look()
        self._began = perf_counter()
        self.seconds = 0.0
        self.processor: dict[str, float] = {}

    def close(self) -> None:
        """Note the clocks."""
        self.seconds = perf_counter() - self._began
        after = self._look()
        self.processor = {group: after[group] - before for group, before in self._used.items()}

    def per(self, count: int) -> dict[str, float]:
        """Return the microseconds of processor for each of ``count``, by group."""
        return {group: used * 1e6 / count for group, used in self.processor.items()} if count else {}

    def _look(self) -> dict[str, float]:
        used = {group: processor_seconds(pids) for group, pids in self._groups.items()}
        return {**used, LOAD: time.process_time()}
