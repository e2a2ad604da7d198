"""The requests that wait for a replica of one deployment: in order, bounded, with deadlines."""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define, field, frozen

from sllm_actors.engines.identity import ReplicaId


@frozen
class Hold:
    """A request that waits. Times are those of one monotonic clock.

    Attributes:
        ticket: Names the request.
        deadline: When it has waited too long.
        excluded: Replicas that it was tried on already, and does not go back to.
        notice_by: When it has waited too long for news of a replica that it broke on.
    """

    ticket: int
    deadline: float
    excluded: frozenset[ReplicaId] = frozenset()
    notice_by: float | None = None


@define
class HoldQueue:
    """The queue. It is told what happens, and answers with the tickets that it concerns, in FIFO order."""

    _holds: dict[int, Hold] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._holds)

    def join(self, hold: Hold, limit: int) -> bool:
        """Queue a request; False when ``limit`` of them wait already."""
        if len(self._holds) >= limit:
            return False
        self._holds[hold.ticket] = hold
        return True

    def leave(self, ticket: int) -> bool:
        """Remove a request whose client has left; False when it does not wait here any more."""
        return self._holds.pop(ticket, None) is not None

    def release(self, ready: Collection[ReplicaId]) -> list[int]:
        """Let go of everyone who may use one of the replicas that are ready now."""
        return self._take(lambda hold: any(replica not in hold.excluded for replica in ready))

    def expire(self, now: float) -> list[int]:
        """Let go of everyone whose deadline has passed."""
        return self._take(lambda hold: hold.deadline <= now)

    def expire_unnoticed(self, now: float, ready: Collection[ReplicaId]) -> list[int]:
        """Let go of those who broke on a replica that is still called ready after their time for news."""
        return self._take(
            lambda hold: (
                hold.notice_by is not None and hold.notice_by <= now and not hold.excluded.isdisjoint(ready)
            )
        )

    def clear(self) -> list[int]:
        """Let go of everyone."""
        return self._take(lambda _: True)

    def next_time(self, now: float) -> float | None:
        """Return when to look at the clock again, or None when nobody waits."""
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
