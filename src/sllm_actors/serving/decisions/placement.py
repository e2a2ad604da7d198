"""Which of some workers with room gets a replica: the one on which it answers first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Final

from attrs import frozen

HUB_BANDWIDTH: Final = 100e6
"""Bytes a second that a download from a hub is taken to have."""

UNKNOWN_DOWNLOAD: Final = 60.0
"""Seconds that the download of a model of unknown size is taken to last."""

BESIDE: Final = 0.25
"""How much the starts that are under way on a worker count: they load from the same disk, side by side."""


@frozen
class PossiblePlace:
    """A worker that has room for a replica.

    Attributes:
        node: Its node id.
        same: How many replicas of the same deployment it has.
        start: Seconds that the start is expected to last there, with the model on its disk.
        download: Bytes that have to be downloaded first; None where that is not known.
        queued: Seconds that the starts which are under way there are expected to last, all together.
    """

    node: str
    same: int = 0
    start: float = 0.0
    download: int | None = 0
    queued: float = 0.0

    @property
    def seconds(self) -> float:
        """When the replica would answer, in seconds from now."""
        fetched = UNKNOWN_DOWNLOAD if self.download is None else self.download / HUB_BANDWIDTH
        return fetched + self.start + BESIDE * self.queued


def choose(candidates: Sequence[PossiblePlace]) -> str | None:
    """Return the best of some workers, or None if there is none.

    The replicas of a deployment are spread: those with the fewest go before others. Of these the one is best
    on which the replica would answer first; times of which one is not half again as long as the other count
    as equal, since they are estimates. Of equals the first one is best: the caller has put them into the
    order in which they leave the best room to others.
    """
    if not candidates:
        return None
    places = range(len(candidates))
    best = min(places, key=lambda place: (candidates[place].same, _step(candidates[place].seconds), place))
    return candidates[best].node


def _step(seconds: float) -> int:
    return round(log2(max(1.0, seconds)))
