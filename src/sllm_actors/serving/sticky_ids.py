"""Which replica made a stored response, by the id of the response: no other replica knows it. Pure."""

from __future__ import annotations

from collections import OrderedDict

from sllm_actors.engines.identity import ReplicaId

REMEMBERED = 20_000
"""How many ids a gateway, or a worker, remembers; about 8 MiB."""

LONGEST = 256
"""The most characters of an id that is remembered."""


class StickyIds:
    """Ids and their replicas; the id that was used least recently is forgotten first.

    Args:
        limit: How many ids are remembered.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._replicas: OrderedDict[str, ReplicaId] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replicas)

    def remember(self, made: str, replica: ReplicaId) -> None:
        """Remember that ``replica`` made ``made``, unless that is longer than ``LONGEST``."""
        if len(made) > LONGEST:
            return
        self._replicas[made] = replica
        self._replicas.move_to_end(made)
        if len(self._replicas) > self._limit:
            self._replicas.popitem(last=False)

    def find(self, made: str) -> ReplicaId | None:
        """Return the replica that made ``made``, or None if that is not known here."""
        replica = self._replicas.get(made)
        if replica is not None:
            self._replicas.move_to_end(made)
        return replica
