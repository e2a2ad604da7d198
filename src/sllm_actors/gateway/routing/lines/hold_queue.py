"""The requests that wait for a replica of one deployment: by priority, then in turns by flow. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked

from .attained import Use
from .fair_queue import FairQueue
from .hold import Choice, Hold
from .place import Place


class HoldQueue:
    """The requests that wait for one deployment, in a ``FairQueue`` for each priority.

    Joining and leaving cost the logarithm of how many wait. Requests that may not go to all replicas stand in
    queues of their own, one for each choice of replicas: so none is passed over one by one.

    Attributes:
        waiting: How many wait.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._queues: dict[int, FairQueue] = {}  # by rank, the negative of the priority
        self._ranks: list[int] = []  # sorted

    def __len__(self) -> int:
        return self.waiting

    def join(self, hold: Hold, now: float) -> None:
        """Add a request."""
        rank = -hold.asked.priority
        queue = self._queues.get(rank)
        if queue is None:
            queue = self._queues[rank] = FairQueue(now)
            insort(self._ranks, rank)
        queue.join(hold, now)
        self.waiting += 1

    def leave(self, hold: Hold, now: float) -> None:
        """Remove a request that waits."""
        rank = -hold.asked.priority
        queue = self._queues[rank]
        queue.leave(hold, now)
        self.waiting -= 1
        if not queue.waiting:
            del self._queues[rank]
            del self._ranks[bisect_left(self._ranks, rank)]

    def begin(self, asked: Asked, expected: float, now: float) -> Use | None:
        """Count a request that gets a slot; see ``FairQueue``. None: none of its priority waits."""
        queue = self._queues.get(-asked.priority)
        return None if queue is None else queue.begin(asked.flow, expected, now)

    def end(self, asked: Asked, use: Use | None, now: float) -> None:
        """Count a request that had a slot; ``use`` is what ``begin`` returned for it."""
        queue = self._queues.get(-asked.priority)
        if queue is not None:
            queue.end(asked.flow, use, now)

    def first(self, places: Sequence[Place]) -> Hold | None:
        """Return the request that goes first of those that may use at least one of these replicas."""
        for rank in self._ranks if places else ():
            hold = self._queues[rank].first(places)
            if hold is not None:
                return hold
        return None

    def ahead_of(self, hold: Hold) -> int:
        """Return how many requests go before that one: exact as long as one flow waits, else a guess."""
        rank = -hold.asked.priority
        higher = self._ranks[: bisect_left(self._ranks, rank)]
        return sum(self._queues[each].waiting for each in higher) + self._queues[rank].ahead_of(hold)

    def tried_on_all(self, ready: frozenset[ReplicaId]) -> list[Hold]:
        """Return the requests that were tried on each of these replicas in vain: none if it is empty."""
        if not ready:
            return []
        return [hold for (tried, _), holds in self._choices() if ready <= tried for hold in holds]

    def bereft(self, there: frozenset[ReplicaId]) -> list[Hold]:
        """Return the requests that may go to one replica only, which is none of these."""
        return [
            hold
            for (_, holder), holds in self._choices()
            if holder is not None and holder not in there
            for hold in holds
        ]

    def all(self) -> list[Hold]:
        """Return all requests, by priority and then by age."""
        holds = [hold for _, holds in self._choices() for hold in holds]
        return sorted(holds, key=lambda hold: (-hold.asked.priority, hold.number))

    def _choices(self) -> Iterator[tuple[Choice, Iterator[Hold]]]:
        for queue in self._queues.values():
            yield from queue.choices()
