"""What this worker could not run: asked again from time to time, since that may change. Pure."""

from __future__ import annotations

from typing import Final

from sllm_actors.engines.messages import InspectSource

MOST_DECLINED: Final = 32
"""The most refusals that are remembered; of too many, the oldest goes."""

REMEMBERED: Final = 600.0
"""Seconds after which a refusal is forgotten: by then, the head tries again by itself."""

LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks at what was refused, if these cost little."""

LONGEST_INTERVAL: Final = 60.0
"""Seconds between two looks at most."""

SHARE: Final = 20.0
"""How many times as long as a look took the pause after it is: looks take at most a twentieth of the time."""


class Declined:
    """The questions that this worker had to answer with a problem lately."""

    def __init__(self) -> None:
        self._all: list[tuple[InspectSource, float]] = []

    def add(self, question: InspectSource, now: float) -> None:
        """Remember a refusal."""
        self.remove(question)
        self._all = [*self._all[1 - MOST_DECLINED :], (question, now)]

    def remove(self, question: InspectSource) -> bool:
        """Forget a refusal; return whether it was remembered."""
        before = len(self._all)
        self._all = [each for each in self._all if each[0] != question]
        return len(self._all) < before

    def current(self, now: float) -> tuple[InspectSource, ...]:
        """Return what is to be asked again."""
        self._all = [each for each in self._all if now < each[1] + REMEMBERED]
        return tuple(question for question, _ in self._all)


def pause_after(took: float) -> float:
    """Return how many seconds to wait after a look at all refusals that took that many."""
    return min(LONGEST_INTERVAL, max(LOOK_INTERVAL, SHARE * took))
