"""What gateways are told of a deployment."""

from __future__ import annotations

from sllm_actors.serving.messages import ServedModel
from sllm_actors.serving.picture.deployment import Deployment


def told_of(deployment: Deployment) -> tuple[object, ...]:
    """Return all of a deployment that its route is made of, and that may change: cheaper than the route."""
    return (
        deployment.spec,
        deployment.target,
        deployment.gateways,
        not deployment.wanted,
        deployment.no_place() if deployment.wait is not None else "",
        _revisions(deployment),
        deployment.starts_in,
        deployment.wakes_in,
    )


def route_of(deployment: Deployment) -> ServedModel:
    """Return what gateways are to know of a deployment."""
    spec = deployment.spec
    return ServedModel(
        id=deployment.id,
        model=spec.model,
        backend=spec.backend,
        revision=deployment.target,
        hold_limit=spec.hold_limit,
        hold_timeout=spec.hold_timeout,
        queue_timeout=spec.queue_timeout,
        policy=spec.routing_policy,
        max_concurrency=spec.max_concurrency,
        aliases=spec.aliases,
        gateways=deployment.gateways,
        idle=not deployment.wanted,
        created=deployment.created,
        no_place=deployment.no_place(),
        uid=deployment.uid,
        revisions=_revisions(deployment),
        starts_in=deployment.starts_in,
        wakes_in=deployment.wakes_in,
    )


def _revisions(deployment: Deployment) -> tuple[int, ...]:
    """Return the revisions of which a replica may serve."""
    serving = {replica.key.revision for replica in deployment.replicas.values()}
    serving.add(deployment.current)
    serving.add(deployment.target)
    return (deployment.target,) if len(serving) == 1 else tuple(sorted(serving))
