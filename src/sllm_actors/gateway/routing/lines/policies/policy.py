"""What all policies of routing have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked


class Candidate(Protocol):
    """A replica that may be chosen.

    Attributes:
        id: Its identity.
        load: How many requests of this gateway are under way there.
        room: How many more it takes now; none if this is not above 0.
    """

    id: ReplicaId
    load: int
    room: int


C = TypeVar("C", bound=Candidate)


class Policy(Protocol):
    """Chooses a replica for each request of one deployment."""

    def choose(self, candidates: Sequence[C], asked: Asked) -> C | None:
        """Return the replica that the request goes to.

        It is one with room that ``asked`` allows. None if there is no such replica, and only then.

        Args:
            candidates: The replicas that are ready, each time in the same order.
            asked: The request.
        """

    def keep(self, replicas: frozenset[ReplicaId]) -> None:
        """Forget what is remembered of all replicas but these."""


def takes(candidate: Candidate, asked: Asked) -> bool:
    """Return whether a replica can be given this request now."""
    if candidate.room <= 0:
        return False
    return (not asked.tried and asked.stored is None) or asked.allows(candidate.id)
