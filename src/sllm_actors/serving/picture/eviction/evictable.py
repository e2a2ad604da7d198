"""The replicas that may go for others, in the order in which they would: an index. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.decisions.eviction import Victim
from sllm_actors.serving.picture.replica import KnownReplica
from sllm_actors.serving.picture.room.claim import Demotion

Place = tuple[str, ReplicaKey]
"""A worker and a replica."""

_Rank = tuple[int, float, str, ReplicaKey]


class Evictable:
    """Replicas by rank. A change costs the logarithm of their number."""

    def __init__(self) -> None:
        self._ranks: list[_Rank] = []
        self._rank_of: dict[Place, _Rank] = {}
        self._replicas: dict[Place, KnownReplica] = {}
        self._by_node: dict[str, dict[Place, None]] = {}
        self._stopped: dict[Place, float] = {}
        self._softest: dict[Place, Demotion] = {}

    def __contains__(self, replica: KnownReplica) -> bool:
        """Return whether a replica is in it."""
        return self._replicas.get((replica.node, replica.key)) is replica

    def put(
        self,
        replica: KnownReplica,
        priority: int,
        figure: float,
        stopped: float | None = None,
        softest: Demotion | None = None,
    ) -> None:
        """Add a replica, or give it another rank: by priority, and then by a figure; the least is first.

        Args:
            replica: The replica.
            priority: That of its deployment.
            figure: What it is worth, against what becomes of it first.
            stopped: What it is worth against being stopped; None for the same.
            softest: What becomes of it first that makes way; None: it is stopped.
        """
        place = (replica.node, replica.key)
        rank = (priority, figure, replica.node, replica.key)
        if self._rank_of.get(place) != rank or self._replicas[place] is not replica:
            self.remove(replica)
            self._insert(rank, replica)
        self._stopped[place] = figure if stopped is None else stopped
        self._softest[place] = Demotion(replica) if softest is None else softest

    def remove(self, replica: KnownReplica) -> None:
        """Remove a replica, if it is there."""
        place = (replica.node, replica.key)
        rank = self._rank_of.pop(place, None)
        if rank is None:
            return
        del self._ranks[bisect_left(self._ranks, rank)], self._replicas[place]
        del self._stopped[place], self._softest[place]
        on = self._by_node[replica.node]
        del on[place]
        if not on:
            del self._by_node[replica.node]

    def worth(self, replica: KnownReplica) -> float:
        """Return the figure by which a replica is ranked that is in it."""
        return self._rank_of[replica.node, replica.key][1]

    def priority(self, place: Place) -> int:
        """Return the priority of a replica that is in it."""
        return self._rank_of[place][0]

    def nodes(self, looked_at: int) -> Iterator[str]:
        """Return the workers of the first ``looked_at`` replicas, each once."""
        seen = dict.fromkeys(rank[2] for rank in self._ranks[:looked_at])
        return iter(seen)

    def softest(self, place: Place) -> Demotion:
        """Return what becomes first of a replica that makes way and is in it."""
        return self._softest[place]

    def on(self, node: str, *, stopped: bool = False) -> list[Victim[Place]]:
        """Return those of a worker, by what they are worth; if ``stopped``, against being stopped."""
        return [
            Victim(place, rank[0], self._stopped[place] if stopped else rank[1])
            for place in self._by_node.get(node, ())
            for rank in (self._rank_of[place],)
        ]

    def at(self, place: Place) -> KnownReplica:
        """Return the replica of a place that is in it."""
        return self._replicas[place]

    def _insert(self, rank: _Rank, replica: KnownReplica) -> None:
        place = (replica.node, replica.key)
        insort(self._ranks, rank)
        self._rank_of[place], self._replicas[place] = rank, replica
        self._by_node.setdefault(replica.node, {})[place] = None
