"""What the code that serves requests tells the balancer of one, and what it hears back. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId

from .flow import ANONYMOUS, Flow
from .loss import Lost
from .route import Upstream


@frozen
class Stored:
    """What one replica holds, and no other: a response that an engine has stored.

    Attributes:
        made: Its id.
        replica: The replica.
    """

    made: str
    replica: ReplicaId


@frozen
class Asked:
    """What a request asks of the balancer.

    Attributes:
        deployment: The id of the deployment that is to serve it.
        priority: Of the requests that wait, those with a higher number go first.
        affinity: What the policy ``session`` keeps together at one replica; None for a request of no session.
        prompt: The bytes of the prompt, or of the messages, for the policy ``prefix``.
        tried: Replicas that the request is never given: it was tried there in vain.
        stored: What it is about, if that is held by one replica; it is given no other.
        keep_alive: See ``Demand.keep_alive``; None if the request says nothing of it.
        flow: Whose request it is: of those of one priority that wait, the flows are served in turn.
    """

    deployment: str
    priority: int = 0
    affinity: bytes | None = None
    prompt: bytes | None = None
    tried: frozenset[ReplicaId] = frozenset()
    stored: Stored | None = None
    keep_alive: float | None = None
    flow: Flow = ANONYMOUS

    @property
    def holder(self) -> ReplicaId | None:
        """The only replica that the request may go to, or None."""
        return None if self.stored is None else self.stored.replica

    def allows(self, replica: ReplicaId) -> bool:
        """Return whether the request may go to a replica."""
        return replica not in self.tried and (self.stored is None or self.stored.replica == replica)


class Outcome(StrEnum):
    """How a request ended at a replica: what the replica's circuit breaker learns from it.

    ``SERVED``: the engine answered as an engine that works, be it with an error that the request deserves;
    ``BROKE``: the engine or the connection to it broke, or it was silent for too long;
    ``LEFT``: it says nothing about the engine: the client left, or no connection was free.
    """

    SERVED = "served"
    BROKE = "broke"
    LEFT = "left"


SERVED: Final = Outcome.SERVED
"""How most requests end: Python 3.11 finds a member of an enumeration only by calls."""


class User(Protocol):
    """A request, as the balancer calls it. It is hashed by identity.

    No method may raise. Each is called when the balancer has done all that belongs to the step, so a method
    may call the balancer; what follows from that is told after the method has returned. None is called before
    ``Balancer.take`` or ``Balancer.hold`` of the same request has returned.
    """

    def granted(self, upstream: Upstream) -> None:
        """Go to this replica: the wait is over. The request is counted there until ``Balancer.done``."""

    def refused(self, error: ApiError) -> None:
        """End: the wait is over, and no replica serves the request. ``error`` is for this request alone."""

    def lost(self, lost: Lost) -> None:
        """Know that the replica where the request is under way can most likely not finish it.

        The request is counted there until ``Balancer.done``, as before. Called once at most for each grant.
        """
