"""The life of one link: when a peer is up, in doubt, and down for good. Pure: events and the time go in,
effects out.

A link joins one life of this node with one life of a peer. It is *up* once its control and its data lane are
open; *suspect* while one of them is missing; *down* when a lane stays away, or nothing is heard, for the
whole budget, or when the end is certain (a goodbye, a refused connection, a later life of the peer). Down is
final: the two lives never link again. Before that, a peer is *doubted* whose control lane was closed and did
not come back for a moment: a process that has died looks like that, and so does a network that blinks.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from attrs import define, field, frozen

from .hello import Lane

DOUBTED_AFTER: Final = 0.25
"""Seconds that a control lane may be closed, as when it is reset and dialled again, before anyone is told."""


class LinkState(Enum):
    """Where a link is in its life."""

    CONNECTING = auto()
    UP = auto()
    SUSPECT = auto()
    DOWN = auto()


@frozen
class Announce:
    """Tell this node that the peer is up (once in a link's life)."""


@frozen
class Doubt:
    """Tell this node that the peer may be gone: its control lane was closed without a goodbye."""

    reason: str


@frozen
class Trust:
    """Tell this node that a peer which was doubted is back, in the same life."""


@frozen
class Lose:
    """Tell this node that the peer is down (once in a link's life), and end the link.

    Attributes:
        severed: The peer cannot be reached (as opposed to: it left, or either side begins a later life), so
            that nothing else between the two can be hoped for either.
        left: The peer has said goodbye.
    """

    reason: str
    severed: bool = False
    left: bool = False


Effect: TypeAlias = Announce | Doubt | Trust | Lose


@define
class LinkLife:
    """The state of one link.

    Attributes:
        budget: Seconds of silence, or of a missing lane, that a link survives.
        heard: When a byte of the peer last came on the control lane.
        announced: Whether the peer was ever up.
        doubted: Whether the peer is doubted.
    """

    budget: float
    heard: float
    state: LinkState = LinkState.CONNECTING
    announced: bool = False
    doubted: bool = False
    _lanes: set[Lane] = field(factory=set)
    _missing_since: float = field(init=False)
    _closed_at: float = field(default=0.0, init=False)
    _why: str = "its lanes never opened"

    def __attrs_post_init__(self) -> None:
        self._missing_since = self.heard

    def opened(self, lane: Lane, now: float) -> list[Effect]:
        """Note that a lane is open."""
        if self.state is LinkState.DOWN:
            return []
        self.heard = now
        self._lanes.add(lane)
        if {Lane.CONTROL, Lane.DATA} <= self._lanes:
            self.state = LinkState.UP
            if not self.announced:
                self.announced = True
                return [Announce()]
            if self.doubted:
                self.doubted = False
                return [Trust()]
        return []

    def closed(self, lane: Lane, reason: str, now: float) -> list[Effect]:
        """Note that a lane has closed: the budget runs, unless it does already.

        It runs from now, but for the control lane from when it was last heard: where a connection broke
        because the peer was silent, that silence counts once, not again from its end.
        """
        if self.state is LinkState.DOWN or lane not in self._lanes:
            return []
        since = self.heard if lane is Lane.CONTROL else now
        if self.state is LinkState.UP:
            self.state = LinkState.SUSPECT
            self._missing_since = since
        if lane is Lane.CONTROL:
            self._closed_at = now
        self._missing_since = min(self._missing_since, since)
        self._lanes.discard(lane)
        self._why = reason
        return []

    def ended(self, reason: str, *, severed: bool = False, left: bool = False) -> list[Effect]:
        """Note that the peer's present life is certainly over (or that this node must act as if it were)."""
        if self.state is LinkState.DOWN:
            return []
        self.state = LinkState.DOWN
        return [Lose(reason, severed, left)]

    def unreachable(self, reason: str) -> list[Effect]:
        """Note that the peer's host refuses connections: with the control lane closed, the peer is gone."""
        return [] if Lane.CONTROL in self._lanes else self.ended(reason, severed=True)

    def tick(self, now: float, *, heard: bool) -> list[Effect]:
        """Check the deadlines.

        Args:
            now: The time.
            heard: Whether anything came on the control lane since the last tick.
        """
        if heard:
            self.heard = now
        if self.state is LinkState.DOWN:
            return []
        if Lane.CONTROL in self._lanes and now - self.heard >= self.budget:
            return self.ended(f"silent for {now - self.heard:.1f} s", severed=True)
        if self.state is not LinkState.UP and now - self._missing_since >= self.budget:
            return self.ended(f"{self._why}, and did not come back within {self.budget:.1f} s", severed=True)
        away = Lane.CONTROL not in self._lanes and now - self._closed_at >= DOUBTED_AFTER
        if away and self.announced and not self.doubted:
            self.doubted = True
            return [Doubt(self._why)]
        return []

    def extend(self, seconds: float) -> None:
        """Move every deadline: this node itself stood still for so long and could not have heard anything."""
        self.heard += seconds
        self._missing_since += seconds
        self._closed_at += seconds


def lateness(expected: float, now: float, tolerance: float) -> float:
    """Return for how many seconds this node stood still, judging by a late tick; 0 within ``tolerance``."""
    late = now - expected
    return late if late > tolerance else 0.0
