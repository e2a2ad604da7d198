"""Workers and replicas as the multi-machine guide of ServerlessLLM, and Pylet, show them. Pure.

Scripts that were written for either find the fields that they know: those of the guide (``id``,
``gpu_units``, ``status``) and those of Pylet (``worker_id``, ``total_resources``, ``available_resources``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sllm_actors.serving.decisions.reconcile import Deployment, Placements, Worker

from .describe import NodeView, describe_deployment
from .messages import Inventory

MIB = 2**20


def guide_worker(node: NodeView, worker: Worker | None, used_gpus: int) -> dict[str, Any]:
    """Describe one worker; ``used_gpus`` is how many of its GPUs replicas have."""
    inventory = worker.inventory if worker else Inventory()
    return {
        "id": inventory.name or node.name or node.id,
        "gpu_units": len(inventory.gpus),
        "status": "ready" if node.up else "offline",
        "worker_id": node.id,
        "host": inventory.host or node.host,
        "total_resources": {
            "cpu_cores": inventory.cpus,
            "gpu_units": len(inventory.gpus),
            "memory_mb": inventory.memory_total // MIB,
        },
        "available_resources": {
            "cpu_cores": inventory.cpus,
            "gpu_units": max(0, inventory.usable_gpus - used_gpus),
            "memory_mb": inventory.memory_free // MIB,
        },
        "last_seen": node.since,
        "labels": inventory.labels,
    }


def guide_instances(
    deployments: Mapping[str, Deployment], workers: Mapping[str, Worker], placements: Placements
) -> list[dict[str, Any]]:
    """Describe all replicas, in the order of their deployments' ids."""
    return [
        {**instance, "instance_id": instance["id"], "deployment": name}
        for name, deployment in sorted(deployments.items())
        for instance in describe_deployment(deployment, workers, placements)["instances"]
    ]
