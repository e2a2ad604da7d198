"""The messages between the actors of one gateway. They never leave the process.

From its node, the gateway's actor also takes the transport's ``PeerUp`` and ``PeerLost``.
"""

from __future__ import annotations

from attrs import frozen

from sllm_actors.api_error import ApiError
from sllm_actors.engines.identity import ReplicaId


@frozen
class NeedRouter:
    """Ask the gateway's actor for the router of a deployment; answered, once it runs, with whether it does.

    False: there is no such deployment.
    """

    deployment: str


@frozen
class RouteChanged:
    """To a router: look at the route of your deployment. A router does so with any message."""


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
class LookAtClock:
    """From a router to itself, by a timer: a request's time to wait may be over."""
