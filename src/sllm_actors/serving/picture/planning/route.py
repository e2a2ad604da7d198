"""What gateways are told of a deployment."""

from __future__ import annotations

from sllm_actors.serving.messages import ServedModel
from sllm_actors.serving.picture.deployment import Deployment


def route_of(deployment: Deployment) -> ServedModel:
    """Return what gateways are to know of a deployment."""
    spec = deployment.spec
    serving = {deployment.current, deployment.target}
    serving |= {replica.key.revision for replica in deployment.replicas.values()}
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
        revisions=tuple(sorted(serving)),
        starts_in=deployment.starts_in,
        wakes_in=deployment.wakes_in,
    )
