"""How full an engine has been in the last minute, in steps that are coarse enough to be told. Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sllm_actors.engines.backends.work_metrics import Sample

SPAN: Final = 60.0
"""Seconds for which the most that was seen counts: it rises at once, and falls a minute later."""

KV_STEP: Final = 5
"""Per cent of the room for KV caches that make a difference: between two steps, the lower one counts."""

MOST_WAITING: Final = 5
"""So many waiting requests, and more, are one and the same."""


@frozen
class Pressure:
    """How full an engine is.

    Attributes:
        waiting: How many requests waited inside it at most, 0 to ``MOST_WAITING``.
        kv: How many per cent of its room for KV caches were taken at most: 0 to 100, in steps of ``KV_STEP``.
    """

    waiting: int = 0
    kv: int = 0


EMPTY: Final = Pressure()
"""Of an engine that has not told yet, too."""


class RecentPressure:
    """The most that was seen of an engine within ``SPAN``. It keeps one time for each step that there is."""

    def __init__(self) -> None:
        self._waiting: dict[int, float] = {}
        self._kv: dict[int, float] = {}

    def see(self, sample: Sample, now: float) -> Pressure:
        """Take a sample of ``now`` (seconds, a monotonic clock), and return the most that was seen lately."""
        self._waiting[int(min(max(sample.waiting, 0.0), MOST_WAITING))] = now
        percent = min(max(sample.kv, 0.0), 1.0) * 100 + 1e-9
        self._kv[int(percent // KV_STEP) * KV_STEP] = now
        return Pressure(_most(self._waiting, now), _most(self._kv, now))


def _most(seen: dict[int, float], now: float) -> int:
    return max(step for step, at in seen.items() if now < at + SPAN)
