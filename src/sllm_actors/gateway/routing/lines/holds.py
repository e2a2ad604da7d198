"""The requests that wait for a replica of one deployment: by priority, then by age. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from attrs import define, field
from sortedcontainers import SortedDict

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked, User
from sllm_actors.gateway.routing.route import Upstream

from .place import Place

Turn: TypeAlias = tuple[int, int]
"""The order in which requests go: the lower of two goes first."""


class HoldState(Enum):
    """``WAITING``: for a replica; ``DECIDED``: its end is not told yet; ``OVER``: it is told, or the request
    has left."""

    WAITING = "waiting"
    DECIDED = "decided"
    OVER = "over"


@define(eq=False)
class Hold:
    """One request that waits. Times are in seconds by one monotonic clock.

    Attributes:
        asked: What it asks.
        user: Who is told how the wait ends.
        number: Rises from hold to hold.
        began: When the request began to wait; earlier than this hold if it has waited before.
        latest: When the wait ends at the latest, whatever the deployment allows.
        notice_by: Until when a replica that it was tried on in vain may still be reported as ready: the
            report may only be late. After that it waits for no replica that it was tried on. None if it was
            tried nowhere.
        error: What it is refused with when its time is over; None: an error that says so.
        state: Where it is in its life.
        due: When it is to be looked at next; kept by the balancer.
        end: While DECIDED: the replica that it goes to, or the error that it is refused with.
    """

    asked: Asked
    user: User
    number: int
    began: float
    latest: float
    notice_by: float | None = None
    error: ApiError | None = None
    state: HoldState = field(default=HoldState.WAITING, init=False)
    due: float = field(default=0.0, init=False)
    end: Upstream | ApiError | None = field(default=None, init=False)

    @property
    def turn(self) -> Turn:
        """When it goes, compared with others of its deployment."""
        return (-self.asked.priority, self.number)


_Choice: TypeAlias = tuple[frozenset[ReplicaId], ReplicaId | None]
"""Where a request may go: to none of these; and to this one only, unless it is None."""

_ANY: _Choice = (frozenset(), None)


def _choice_of(asked: Asked) -> _Choice:
    return asked.tried, asked.holder


class HoldQueue:
    """The requests that wait for one deployment.

    Joining and leaving cost the logarithm of how many wait. Requests that may not go to all replicas stand in
    queues of their own, one for each choice of replicas: so none is passed over one by one.

    Attributes:
        waiting: How many wait.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._queues: dict[_Choice, SortedDict] = {}  # of Turn -> Hold

    def __len__(self) -> int:
        return self.waiting

    def join(self, hold: Hold) -> None:
        """Add a request."""
        choice = _choice_of(hold.asked)
        queue = self._queues.get(choice)
        if queue is None:
            queue = self._queues[choice] = SortedDict()
        queue[hold.turn] = hold
        self.waiting += 1

    def leave(self, hold: Hold) -> None:
        """Remove a request that waits."""
        choice = _choice_of(hold.asked)
        queue = self._queues[choice]
        del queue[hold.turn]
        self.waiting -= 1
        if not queue:
            del self._queues[choice]

    def first(self, places: Sequence[Place]) -> Hold | None:
        """Return the request that goes first of those that may use at least one of these replicas."""
        found: Hold | None = None
        for choice, queue in self._queues.items() if places else ():
            hold: Hold = queue.peekitem(0)[1]
            may_go = choice == _ANY or any(hold.asked.allows(place.id) for place in places)
            if may_go and (found is None or hold.turn < found.turn):
                found = hold
        return found

    def ahead_of(self, hold: Hold) -> int:
        """Return how many requests go before that one, as things are now."""
        turn = hold.turn
        return sum(queue.bisect_left(turn) for queue in self._queues.values())

    def tried_on_all(self, ready: frozenset[ReplicaId]) -> list[Hold]:
        """Return the requests that were tried on each of these replicas in vain: none if it is empty."""
        if not ready:
            return []
        return [
            hold for (tried, _), queue in self._queues.items() if ready <= tried for hold in queue.values()
        ]

    def bereft(self, there: frozenset[ReplicaId]) -> list[Hold]:
        """Return the requests that may go to one replica only, which is none of these."""
        return [
            hold
            for (_, holder), queue in self._queues.items()
            if holder is not None and holder not in there
            for hold in queue.values()
        ]

    def all(self) -> list[Hold]:
        """Return all requests, in the order in which they go."""
        return sorted(
            (hold for queue in self._queues.values() for hold in queue.values()), key=lambda hold: hold.turn
        )
