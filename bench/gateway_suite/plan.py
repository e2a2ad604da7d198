"""What one run of the benchmark measures: which systems, which phases, how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from .measures import ALSO, DIRECT, LITELLM, OURS, RAY_SERVE, REFERENCE, TUNNEL
from .phases import Phase

SYSTEMS: Final = (OURS, TUNNEL, REFERENCE, ALSO, "nginx", RAY_SERVE, LITELLM, DIRECT)

SLOW: Final = (RAY_SERVE, LITELLM)
"""They are one and two orders of magnitude away, and at work on their streams long after these are over."""

PARTS: Final = ("plain", "streamed", "steady", "many-streams", "burst", "processes")

SLOW_ROUNDS: Final = 1
"""Rounds of those, and of the upstream without a gateway."""


@frozen
class Plan:
    """What to measure.

    Attributes:
        systems: By name, in the order of the first round.
        parts: Of ``PARTS``.
        connections: At which numbers of connections the closed loops run.
        rounds: How often each system is measured.
        seconds: How long each phase is measured in each round.
        streams: Steady streams.
        many: Streams that are open together, a chunk a second each.
        hold: Seconds that each of them lasts.
        burst: Requests at the same instant.
    """

    systems: Sequence[str]
    parts: Sequence[str]
    connections: Sequence[int]
    rounds: int
    seconds: float
    streams: int
    many: int
    hold: float
    burst: int

    def once(self) -> list[Phase]:
        """Return the phases that each system goes through once, fresh from its start."""
        return [
            *([Phase("many", self.many, self.hold)] if "many-streams" in self.parts else []),
            *([Phase("burst", self.burst)] if "burst" in self.parts else []),
        ]

    def each_round(self) -> list[Phase]:
        """Return the phases of a round."""
        loops = [
            Phase(kind, connections, self.seconds)
            for kind in ("plain", "streamed")
            if kind in self.parts
            for connections in self.connections
        ]
        return [*loops, *([Phase("steady", self.streams, self.seconds)] if "steady" in self.parts else [])]

    def turns(self, systems: Sequence[str]) -> list[tuple[list[str], list[Phase], int]]:
        """Return what is done one after the other: which systems, their phases, and in how many rounds.

        The slow ones go through their many streams last of all.

        Args:
            systems: Those that could be started.
        """
        early = [name for name in systems if name not in SLOW]
        late = [name for name in systems if name in SLOW]
        turns = [
            (early, self.once(), 1),
            (list(systems), self.each_round(), self.rounds),
            (late, self.once(), 1),
        ]
        return [(names, phases, rounds) for names, phases, rounds in turns if names and phases]

    def rounds_of(self, system: str) -> int:
        """Return in how many rounds a system is measured."""
        return min(self.rounds, SLOW_ROUNDS) if system in (*SLOW, DIRECT) else self.rounds
