"""How far the rollout of a new revision is, as it is shown."""

from __future__ import annotations

from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.picture import Picture

from .reasons import what_it_waits_for
from .shapes import RolloutState, RolloutView


def is_untried(deployment: Deployment) -> bool:
    """Return whether a revision counts as the one that serves, though none of its replicas was started."""
    return deployment.rolling and deployment.unproven and not deployment.running()


def rollout_view(picture: Picture, deployment: Deployment, now: float) -> RolloutView | None:
    """Return how far the rollout of a deployment is.

    Returns:
        None while every replica is to have the revision that serves, unless the last update was rolled back.
    """
    if is_untried(deployment):
        return None
    if deployment.rolling:
        number, state = deployment.target, RolloutState.PROGRESSING
        reason = _what_it_waits_for(picture, deployment, now)
        if deployment.paused:
            state, reason = RolloutState.PAUSED, deployment.paused
    else:
        number, state = max(deployment.revisions), RolloutState.ROLLED_BACK
        reason = deployment.revisions[number].failed
        if not reason:
            return None
    serving = sum(each.serves and each.key.revision == number for each in deployment.replicas.values())
    since = deployment.revisions[number].created
    return RolloutView(number, state, reason, serving, deployment.wanted, since)


def _what_it_waits_for(picture: Picture, deployment: Deployment, now: float) -> str:
    if deployment.wait is not None:
        return f"a replica has no place: {what_it_waits_for(picture, deployment, now)}"
    for replica in deployment.replicas.values():
        report = replica.report
        if replica.key.revision == deployment.target and report is not None and not replica.serves:
            return report.reason or report.progress
    return ""
