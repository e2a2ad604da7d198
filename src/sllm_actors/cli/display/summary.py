"""What a deployment does, in short sentences for one who looks at many of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sllm_actors.cli.answers.deployments import DeploymentDocument, InstanceDocument
from sllm_actors.cli.answers.status import TotalsDocument

from .ages import age

SHOWN_PLACES = 3
"""How many workers of a deployment are named."""

SHOWN_INSTANCES = 3
"""Of how many of its instances something is said."""

WIDTH = 80
"""Characters of a line that any terminal has room for."""

_SERVING = ("ready", "asleep")


def places(deployment: DeploymentDocument) -> str:
    """Return the names of the workers that have instances of a deployment, those that serve first."""
    names: Counter[str] = Counter()
    for each in sorted(deployment.instances, key=lambda each: each.state not in _SERVING):
        if each.where:
            names[each.where] += 1
    shown = [f"{name} ({count})" if count > 1 else name for name, count in names.items()]
    more = len(shown) - SHOWN_PLACES
    return ", ".join(shown[:SHOWN_PLACES]) + (f" and {more} more" if more > 0 else "")


def notes(deployment: DeploymentDocument, now: float) -> Iterator[str]:
    """Return what there is to say of a deployment: why it is not ready, and what changes.

    Args:
        deployment: As the gateway describes it.
        now: Seconds since the epoch.
    """
    if deployment.detail:
        yield deployment.detail
    rollout = deployment.rollout
    if rollout is not None:
        state = {"rolled_back": "was rolled back", "paused": "is paused"}.get(rollout.state)
        state = state or f"is being rolled out, {rollout.ready} of {rollout.wanted} ready"
        yield f"revision {rollout.revision} {state}" + (f": {rollout.reason}" if rollout.reason else "")
    if deployment.state not in _SERVING:
        return  # the detail is about them
    new = None if rollout is None else rollout.revision
    told = [each for each in deployment.instances if each.state in _TOLD and each.revision != new]
    for each in told[:SHOWN_INSTANCES]:
        yield _one(each, now)
    if len(told) > SHOWN_INSTANCES:
        yield f"and {len(told) - SHOWN_INSTANCES} more instances that do not serve"


_TOLD = ("pending", "starting", "draining", "failed")


def _one(instance: InstanceDocument, now: float) -> str:
    since = age(instance.since, now)
    where = f" on {instance.where}" if instance.where else ""
    why = instance.reason or instance.progress
    return f"{instance.state}{where}" + (f" for {since}" if since else "") + (f": {why}" if why else "")


def in_total(totals: TotalsDocument) -> str:
    """Return the totals of a cluster as one line, or two where one would be longer than ``WIDTH``."""
    deployments = f"{totals.deployments} deployment{'' if totals.deployments == 1 else 's'}"
    states = ", ".join(f"{count} {state}" for state, count in totals.deployment_states.items() if count)
    deployments += f" ({states})" if states else ""
    nodes = ", ".join(f"{count} {state}" for state, count in totals.nodes.items() if count)
    rest = f"{totals.replicas} replica{'' if totals.replicas == 1 else 's'}; nodes: {nodes or 'none'}"
    rest += f"; {totals.gpus.free} of {totals.gpus.total} GPUs free" if totals.gpus.total else ""
    line = f"{deployments}, {rest}"
    return line if len(line) <= WIDTH else f"{deployments}\n{rest}"
