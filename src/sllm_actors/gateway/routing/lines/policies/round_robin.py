"""Round robin: each replica in its turn. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked

from .policy import C, takes


class RoundRobin:
    """Chooses the replicas one after the other, and passes over those that cannot take the request."""

    def __init__(self) -> None:
        self._next = 0

    def choose(self, candidates: Sequence[C], asked: Asked) -> C | None:
        """See ``Policy``."""
        many = len(candidates)
        for step in range(many):
            at = (self._next + step) % many
            if takes(candidates[at], asked):
                self._next = at + 1
                return candidates[at]
        return None

    def keep(self, replicas: frozenset[ReplicaId]) -> None:
        """See ``Policy``: nothing is remembered but whose turn is next."""
