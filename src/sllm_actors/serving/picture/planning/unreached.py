"""Replacing at once what no gateway reaches on workers whose link is lost, while requests wait for it."""

from __future__ import annotations

from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import TotalDemand
from sllm_actors.serving.picture.node import Link
from sllm_actors.serving.picture.replica import KnownReplica


def unreached(deployment: Deployment, demand: TotalDemand, fleet: Fleet) -> list[KnownReplica]:
    """Return the replicas to be replaced before the grace of their workers is over.

    They are on suspect workers, requests wait, and no gateway reaches any replica of the deployment.
    """
    if not fleet.has_suspects or not demand.held or demand.reached:
        return []
    return [each for each in deployment.running() if fleet.nodes[each.node].link is Link.SUSPECT]


def replace_unreached(deployment: Deployment, demand: TotalDemand, fleet: Fleet, effects: Effects) -> None:
    """Let other replicas run in the place of those that are unreached."""
    for replica in unreached(deployment, demand, fleet):
        replica.replaced = True
        node = fleet.nodes[replica.node]
        why = f"the link with {node.name or node.id} is lost, and requests wait that reach none"
        effects.note_replica(replica, "replica.moved", f"{replica.key} is replaced: {why}")
