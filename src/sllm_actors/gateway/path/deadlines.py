"""One queue of what has to be looked at now and then, in place of a timer for each. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Rounds(Generic[T]):
    """Each member is due once every ``period`` seconds, counted from when it joined.

    A member that joins and leaves within its first period costs two operations on a dictionary (which keeps
    the order of joining), and is never looked at. Times are in seconds by one monotonic clock that the caller
    reads.

    Args:
        period: Seconds from joining, and from one look, to the next.
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self._due: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def join(self, member: T, now: float) -> None:
        """Add a member; one that is in already begins its period anew."""
        self._due.pop(member, None)
        self._due[member] = now + self.period

    def leave(self, member: T) -> None:
        """Remove a member, if it is in."""
        self._due.pop(member, None)

    def members(self) -> list[T]:
        """Return all members."""
        return list(self._due)

    def due(self, now: float) -> list[T]:
        """Return the members whose period is over; a new one of theirs begins."""
        found = []
        for member, at in self._due.items():
            if at > now:
                break
            found.append(member)
        for member in found:
            self.join(member, now)
        return found
