"""What the actors of one gateway say to each other, and its node to them of links. Never on the wire."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId

from .route import Route


@frozen
class WorkerUp:
    """To the gateway: a link to that worker has come up."""

    node: str


@frozen
class WorkerLost:
    """To the gateway: that worker cannot be reached any more; its replicas take no requests from here."""

    node: str
    reason: str


@frozen
class UpdateRoute:
    """To a router: this is what is known of your deployment now."""

    route: Route


@frozen
class WaitForReplica:
    """Ask a router to hold a request; answered with ``Released`` or ``HoldRefused``.

    Attributes:
        deadline: By the clock of the actor system.
        excluded: Replicas that the request was tried on already.
        error: What it is answered with where there is no other replica in time; None: it was tried nowhere.
    """

    ticket: int
    deadline: float
    excluded: frozenset[ReplicaId] = frozenset()
    error: ApiError | None = None


@frozen
class LeaveHold:
    """To a router: the client of that request has left."""

    ticket: int


@frozen
class Released:
    """There may be a replica now: choose again."""


@frozen
class HoldRefused:
    """The request is not to be served."""

    error: ApiError


@frozen
class Idle:
    """To a router: nothing is in flight any more at a replica that is leaving."""

    replica: ReplicaId
    node: str
    withdrawal: int


@frozen
class LookAtClock:
    """From a router to itself."""
