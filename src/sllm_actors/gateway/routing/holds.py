"""The queue of requests that wait for a replica of one deployment: first in, first out, bounded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define, field, frozen

from sllm_actors.engines.identity import ReplicaId


@frozen
class Hold:
    """A request that waits. Times are in seconds by one monotonic clock.

    Attributes:
        ticket: The number that names the request in this gateway.
        deadline: Until when the request may wait.
        excluded: Replicas that the request was tried on in vain; it does not go back to them.
        notice_by: Until when one of those may still be reported as ready: the report may only be late. After
            that the request waits no longer. None for a request that was tried nowhere.
    """

    ticket: int
    deadline: float
    excluded: frozenset[ReplicaId] = frozenset()
    notice_by: float | None = None


@define
class HoldQueue:
    """The waiting requests of one deployment, by ticket.

    Methods that let requests go remove them, and return their tickets in the order in which they joined.
    """

    _holds: dict[int, Hold] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._holds)

    def join(self, hold: Hold, limit: int) -> bool:
        """Add a request and return True, or return False when ``limit`` requests wait already."""
        if len(self._holds) >= limit:
            return False
        self._holds[hold.ticket] = hold
        return True

    def leave(self, ticket: int) -> bool:
        """Remove a request whose client has left; return False if it does not wait any more."""
        return self._holds.pop(ticket, None) is not None

    def release(self, ready: Collection[ReplicaId]) -> list[int]:
        """Let go of all requests that may use at least one of the replicas that are ready now."""
        return self._take(lambda hold: any(replica not in hold.excluded for replica in ready))

    def expire(self, now: float) -> list[int]:
        """Let go of all requests whose deadline has passed at ``now``."""
        return self._take(lambda hold: hold.deadline <= now)

    def expire_unnoticed(self, now: float, ready: Collection[ReplicaId]) -> list[int]:
        """Let go of all requests whose ``notice_by`` has passed although a replica that they exclude is in
        ``ready``."""
        return self._take(
            lambda hold: (
                hold.notice_by is not None and hold.notice_by <= now and not hold.excluded.isdisjoint(ready)
            )
        )

    def clear(self) -> list[int]:
        """Let go of all requests."""
        return self._take(lambda _: True)

    def next_time(self, now: float) -> float | None:
        """Return when ``expire`` or ``expire_unnoticed`` is due next, or None when nothing waits."""
        times = [hold.deadline for hold in self._holds.values()]
        times += [
            hold.notice_by
            for hold in self._holds.values()
            if hold.notice_by is not None and hold.notice_by > now
        ]
        return min(times, default=None)

    def _take(self, wanted: Callable[[Hold], bool]) -> list[int]:
        taken = [ticket for ticket, hold in self._holds.items() if wanted(hold)]
        for ticket in taken:
            del self._holds[ticket]
        return taken
