"""How the rollout of a new revision stands, and whether somebody who waits for it has to wait on."""

from __future__ import annotations

from .answers.deployments import DeploymentDocument
from .errors import CommandFailure


def in_progress(deployment: DeploymentDocument) -> str:
    """Return how far the rollout that is under way is, in part of a sentence; "" if none is."""
    rollout = deployment.rollout
    if rollout is None or rollout.state != "progressing":
        return ""
    why = f", {rollout.reason}" if rollout.reason else ""
    return f"revision {rollout.revision}, {rollout.ready} of {rollout.wanted} replicas ready{why}"


def is_current(deployment: DeploymentDocument, revision: int) -> bool:
    """Say whether a revision, or a newer one, is what a deployment serves with.

    Raises:
        CommandFailure: Its rollout is paused, was rolled back, or gave way to that of a newer revision.
    """
    rollout, name = deployment.rollout, deployment.id
    if rollout is None or rollout.revision < revision:
        return deployment.revision >= revision
    why = f": {rollout.reason}" if rollout.reason else ""
    if rollout.revision > revision:
        if deployment.revision >= revision:
            return True
        raise CommandFailure(
            f"{name}: revision {revision} gave way to revision {rollout.revision} before it was ready"
        )
    if rollout.state == "rolled_back":
        raise CommandFailure(
            f"{name}: revision {revision} was rolled back, and revision {deployment.revision} serves{why}"
        )
    if rollout.state == "paused":
        raise CommandFailure(
            f"{name}: the rollout of revision {revision} is paused{why} (sllm update {name} --resume goes on)"
        )
    return False
