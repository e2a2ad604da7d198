"""Nodes as they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from sllm_actors.serving.messages import Inventory
from sllm_actors.serving.picture.fleet import WORKER
from sllm_actors.serving.picture.node import KnownNode, Link
from sllm_actors.serving.picture.picture import Picture

from .shapes import NodeView, ResourcesView, UnreachedView, WorkerView

MIB = 2**20

_STATUS = {Link.UP: "ready", Link.SUSPECT: "suspect", Link.DOWN: "offline"}


def node_view(picture: Picture, node: KnownNode) -> NodeView:
    """Return a node as it is shown."""
    inventory = node.inventory or Inventory()
    works = node.role == WORKER
    return NodeView(
        id=node.id,
        name=node.name or node.id,
        role=node.role,
        host=inventory.host or node.host,
        state=node.link.value,
        reason=node.reason or _never_linked(node),
        draining=node.draining,
        incarnation="" if node.incarnation is None else str(node.incarnation),
        gpus_total=node.gpus if works else None,
        gpus_free=node.free_gpus if works else None,
        gpus_stuck=node.gpus - inventory.usable_gpus if works else None,
        cpus=inventory.cpus if works else None,
        memory_total=inventory.memory_total if works else None,
        memory_free=inventory.memory_free if works else None,
        labels=inventory.labels,
        fork_servers=inventory.fork_servers,
        models=inventory.models,
        replicas=len(node.replicas),
        since=picture.wall(node.since),
        unreached_by=tuple(_unreached_by(picture, node)),
        refused=picture.fleet.refused.get(node.id, {}),
    )


def _unreached_by(picture: Picture, node: KnownNode) -> Iterator[UnreachedView]:
    for gateway, workers in sorted(picture.fleet.unreached.items()):
        if (said := workers.get(node.id)) is not None:
            yield UnreachedView(picture.fleet.nodes[gateway].name or gateway, said.address, said.reason)


def worker_view(picture: Picture, node: KnownNode) -> WorkerView:
    """Return a worker as the multi-machine guide and Pylet show it."""
    inventory = node.inventory or Inventory()
    return WorkerView(
        id=node.name or node.id,
        gpu_units=node.gpus,
        status=_STATUS[node.link],
        worker_id=node.id,
        host=inventory.host or node.host,
        draining=node.draining,
        total_resources=ResourcesView(inventory.cpus, node.gpus, inventory.memory_total // MIB),
        available_resources=ResourcesView(inventory.cpus, node.free_gpus, inventory.memory_free // MIB),
        last_seen=picture.wall(node.since),
        labels=inventory.labels,
    )


def _never_linked(node: KnownNode) -> str:
    missing = node.link is Link.DOWN and node.incarnation is None
    return "it has not been linked since the head started" if missing else ""
