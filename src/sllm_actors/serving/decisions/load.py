"""The load of a deployment over the last minute. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

SPAN: Final = 60.0
"""The longest time, in seconds, over which a mean can be asked for."""

STEP: Final = 0.5
"""Changes that are nearer to each other than so many seconds share one point of the record."""


class Load:
    """A number of requests as it changes, and its means, weighted by time: integrals and no samples.

    A mean is exact, but for what happened within ``STEP`` of where its time begins, which is spread evenly
    over that step. At most ``SPAN / STEP`` points and a few more are kept, however often the number changes.
    Before the first change it is 0. Times are in seconds on one clock that does not go back.
    """

    __slots__ = ("_at", "_sum", "_sums", "_times", "value")

    def __init__(self) -> None:
        self.value = 0
        self._at = 0.0
        self._sum = 0.0  # the integral until then
        self._times: list[float] = []
        self._sums: list[float] = []

    def set(self, value: int, now: float) -> None:
        """Let the number be ``value`` from now on."""
        if value == self.value:
            return
        now = max(now, self._at)
        before, self.value = self.value, value
        self._sum += before * (now - self._at)
        self._at = now
        if self._times and now < self._times[-1] + STEP:
            return
        self._times.append(now)
        self._sums.append(self._sum)
        self._drop_before(now - SPAN)

    def mean(self, span: float, now: float) -> float:
        """Return the mean of the last ``span`` seconds (at most ``SPAN``)."""
        if not self._times:
            return 0.0
        return max(0.0, self._until(now) - self._until(now - span)) / span

    def _until(self, when: float) -> float:
        """Return the integral until a time."""
        if when >= self._at:
            return self._sum + self.value * (when - self._at)
        index = bisect_right(self._times, when) - 1
        if index < 0:
            return self._sums[0]  # before, it was 0, or nobody asks
        begin, known = self._times[index], self._sums[index]
        last = index + 1 == len(self._times)
        end, then = (self._at, self._sum) if last else (self._times[index + 1], self._sums[index + 1])
        return known + (then - known) * (when - begin) / (end - begin)

    def _drop_before(self, when: float) -> None:
        """Forget the points that no mean needs: all before the last one that is not after ``when``."""
        drop = bisect_right(self._times, when) - 1
        if drop > 0:
            del self._times[:drop], self._sums[:drop]
