"""Whether more replicas are worth their start: by how long requests take, and how long a start does. Pure.

What cannot begin at once waits for those before it, or for another replica to start. More replicas help only
if they are ready before that; those that come when a burst is over cost a start and serve nobody.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from attrs import define

WORTH: Final = 1.0
"""What waits may take so many times a start until it begins, before another replica is started for it."""

WORTH_TAKEN: Final = 3.0
"""The same where another deployment loses an idle replica for it: that one has to start again for its next
request, and perhaps takes room from a third one."""

REMEMBERED: Final = 64.0
"""After so many requests the older ones count half."""

_SLACK = 1e-9  # of fractions: 8.000000001 replicas are 8


@define
class ServiceTime:
    """How many seconds a request is in flight, on average: from two counts, and no request is followed.

    It is the time that requests were in flight, together, over how many of them have ended. While none ends
    it rises. Older ones count less. Times are in seconds on one clock.
    """

    _sum: float = 0.0
    _ended: float = 0.0
    _at: float = 0.0
    _in_flight: int = 0
    _before: int = 0

    def take(self, in_flight: int, uses: int, now: float) -> None:
        """Take how many are in flight, and how many have begun so far: a count that may begin anew."""
        self._sum += self._in_flight * (now - self._at)
        ended = uses - in_flight
        self._ended += max(0, ended - self._before)
        self._at, self._in_flight, self._before = now, in_flight, ended
        if self._ended > REMEMBERED:
            self._sum, self._ended = self._sum / 2, self._ended / 2

    @property
    def seconds(self) -> float | None:
        """The average; None while it is not known."""
        return self._sum / self._ended if self._ended else None


def worth_starting(
    requests: int, replicas: int, target: int, seconds: float | None, start: float, worth: float = WORTH
) -> int:
    """Return how many replicas there should be for some requests: no fewer than there are, nor than one.

    Args:
        requests: Those that are held and in flight.
        replicas: How many serve or start.
        target: How many requests at a time one replica should have.
        seconds: How long a request takes; None if that is not known: then all that fit it are worth it.
        start: How long a start takes; 0 if that is not known: in the same way.
        worth: How many times a start the last request may wait.
    """
    most = requests / target
    if seconds is not None and start > 0:
        # With n replicas the last request begins after (requests - n * target) * seconds / (n * target).
        most *= seconds / (seconds + worth * start)
    return max(1, replicas, ceil(most - _SLACK))
