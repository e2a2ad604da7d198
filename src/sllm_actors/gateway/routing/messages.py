"""The messages between the actors of one gateway, and from its node to them. They never leave the process."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId

from .route import Route


@frozen
class HeadUp:
    """To the gateway's actor: a link to the head ``node`` has come up."""

    node: str


@frozen
class WorkerUp:
    """To the gateway's actor: a link to the worker ``node`` has come up."""

    node: str


@frozen
class WorkerLost:
    """To the gateway's actor: the worker ``node`` cannot be reached; its replicas get no more requests."""

    node: str
    reason: str


@frozen
class UpdateRoute:
    """To a router: the route of its deployment is this now."""

    route: Route


@frozen
class WaitForReplica:
    """Ask a router to hold a request until it may be tried; answered with ``Released`` or ``HoldRefused``.

    Attributes:
        ticket: A number that names the request in this gateway.
        deadline: Until when the request may wait, in seconds by the clock of the actor system.
        excluded: Replicas that the request was tried on in vain.
        error: The error of the last of those attempts: what the request is refused with if no other replica
            is ready in time. None if it was tried nowhere.
    """

    ticket: int
    deadline: float
    excluded: frozenset[ReplicaId] = frozenset()
    error: ApiError | None = None


@frozen
class LeaveHold:
    """To a router: forget the request ``ticket``, which waits no longer; most often its client has left."""

    ticket: int


@frozen
class Released:
    """A router's answer: a replica is ready, so choose again."""


@frozen
class HoldRefused:
    """A router's answer: the request cannot be served; ``error`` is for its client."""

    error: ApiError


@frozen
class Idle:
    """To a router: nothing is in flight any more at a replica that is leaving.

    Attributes:
        node: The node id of its worker.
        withdrawal: The number that the worker gave this withdrawal; it is sent back in ``Withdrawn``.
    """

    replica: ReplicaId
    node: str
    withdrawal: int


@frozen
class LookAtClock:
    """From a router to itself, by a timer: a request's time to wait may be over."""
