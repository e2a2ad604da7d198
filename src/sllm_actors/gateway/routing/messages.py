"""The messages between the actors of one gateway, and from its balancer. They never leave the process.

From its node, the gateway's actor also takes the transport's ``PeerUp``, ``PeerDoubted``, ``PeerTrusted`` and
``PeerLost``.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class RouteChanged:
    """To a router: look at the route of your deployment. A router does so with any message."""


@frozen
class RequestsWait:
    """From the balancer to the gateway's actor: a first request waits for this deployment."""

    deployment: str


@frozen
class WakeBalancer:
    """From the balancer to the gateway's actor: call ``Balancer.expire`` at ``when``, or sooner."""

    when: float


@frozen
class DemandChanged:
    """From the balancer to the gateway's actor: ``Balancer.take_changed`` has something to return."""


@frozen
class AtRest:
    """From the balancer to the gateway's actor: a deployment has no request left."""
