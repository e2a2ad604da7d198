"""Describing the cluster for people and scripts, as plain JSON objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.observe.redaction import MASK, is_credential, masked, without_credentials
from sllm_actors.serving.decisions.reconcile import Deployment, Placements, Worker, running, used_gpus
from sllm_actors.serving.decisions.waiting import why_overdue
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .messages import Inventory

CRASH_LOOP = 3
"""How many failures in a row make a crash loop."""


@frozen
class NodeView:
    """One node, as ``status --nodes`` shows it.

    Attributes:
        id: Its node id.
        role: Its role, as ``worker`` or ``gateway``.
        host: The address that its link comes from.
        incarnation: Which life of the node it is.
        up: Whether it is linked.
        since: When it was linked or lost, in seconds since the epoch.
        reason: Why it is down; "" while it is up.
        name: Its name in its last report; "" without one.
    """

    id: str
    role: str
    host: str
    incarnation: str
    up: bool
    since: float
    reason: str = ""
    name: str = ""


def describe_deployment(
    deployment: Deployment, workers: Mapping[str, Worker], placements: Placements
) -> dict[str, Any]:
    """Describe one deployment with its replicas."""
    spec = deployment.spec
    replicas = running(spec.id, workers)
    reported = {report.id.key for _, report in replicas}
    waiting = [
        (key, node)
        for key, node in sorted(placements.items())
        if key.deployment == spec.id and key not in reported
    ]
    state, detail = _summary(deployment, [report for _, report in replicas], bool(waiting))
    return {
        "id": spec.id,
        "model": spec.model,
        "backend": spec.backend,
        "revision": deployment.revision,
        "status": "deleting" if deployment.deleting else "active",
        "state": state,
        "detail": detail,
        "ready_replicas": sum(report.state is ReplicaState.READY for _, report in replicas),
        "desired_replicas": 0 if deployment.deleting else spec.replicas,
        "created": deployment.created,
        "spec": shown_document(spec),
        "instances": [_instance(spec, node, workers, report) for node, report in replicas]
        + [_instance(spec, node, workers, _ordered(key)) for key, node in waiting],
    }


def shown_document(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the document of a deployment as it is shown to people.

    Values that look like secrets, and credentials in its headers, are masked. ``secret_env`` is not: it only
    says where secrets are.
    """
    document = write_document(spec)
    shown = {**masked(document), "secret_env": document["secret_env"]}
    headers = shown["backend_config"].get("headers")
    if isinstance(headers, dict):
        shown["backend_config"]["headers"] = {
            name: MASK if is_credential(str(name)) else value for name, value in headers.items()
        }
    return shown


def describe_cluster(
    deployments: Mapping[str, Deployment],
    nodes: Iterable[NodeView],
    workers: Mapping[str, Worker],
    placements: Placements,
) -> dict[str, Any]:
    """Describe all nodes and deployments; the latter without their ``spec``."""
    described = [describe_deployment(each, workers, placements) for _, each in sorted(deployments.items())]
    for each in described:
        del each["spec"]
    return {
        "deployments": described,
        "nodes": [
            describe_node(node, workers.get(node.id), used_gpus(node.id, deployments, workers, placements))
            for node in nodes
        ],
        "head": {"state": "up"},
    }


def describe_node(node: NodeView, worker: Worker | None, used_gpus: int) -> dict[str, Any]:
    """Describe one node; hardware is None for any but workers."""
    inventory = worker.inventory if worker else Inventory()
    hardware = {
        "gpus_total": len(inventory.gpus),
        "gpus_free": max(0, inventory.usable_gpus - used_gpus),
        "gpus_stuck": len(inventory.gpus) - inventory.usable_gpus,
        "cpus": inventory.cpus,
        "memory_total": inventory.memory_total,
        "memory_free": inventory.memory_free,
    }
    return {
        "id": node.id,
        "name": inventory.name or node.name or node.id,
        "role": node.role,
        "host": inventory.host or node.host,
        "state": "up" if node.up else "down",
        "reason": node.reason,
        "incarnation": node.incarnation,
        **(hardware if node.role == "worker" else dict.fromkeys(hardware)),
        "labels": inventory.labels,
        "fork_servers": [
            {
                "backend": each.backend,
                "state": each.state.value,
                "memory": each.memory,
                "modules": each.modules,
                "reason": each.reason,
            }
            for each in inventory.fork_servers
        ],
        "models": [
            {"source": each.source, "size": each.size, "last_used": each.last_used}
            for each in inventory.models
        ],
        "replicas": len(worker.replicas) if worker else 0,
        "since": node.since,
    }


def _summary(deployment: Deployment, replicas: list[ReplicaReport], ordered: bool) -> tuple[str, str]:
    """Return the state of a deployment: one word, and a sentence that explains it."""
    by_state: dict[ReplicaState, ReplicaReport] = {report.state: report for report in replicas}
    if deployment.deleting:
        return "deleting", f"{len(replicas)} of its replicas are still ending" if replicas else ""
    if ReplicaState.READY in by_state:
        return "ready", _trouble(deployment, replicas)
    if ReplicaState.ASLEEP in by_state:
        return "asleep", _trouble(deployment, replicas)
    if looping := [report for report in replicas if is_crash_loop(report)]:
        worst = max(looping, key=lambda report: report.failures)
        return "crash_loop", f"it failed {worst.failures} times in a row: {worst.reason}"
    if report := by_state.get(ReplicaState.STARTING):
        return "starting", report.progress
    if report := by_state.get(ReplicaState.FAILED):
        return "failed", report.reason
    if report := by_state.get(ReplicaState.PENDING):
        return "pending", report.progress or "a worker has been asked to start it"
    if ordered:
        return "pending", "a worker has been asked to start it"
    return _why_nowhere(deployment)


def _trouble(deployment: Deployment, replicas: list[ReplicaReport]) -> str:
    """Return what is wrong although a replica serves, as a sentence, or ""."""
    troubles = []
    if looping := [report for report in replicas if is_crash_loop(report)]:
        worst = max(looping, key=lambda report: report.failures)
        troubles.append(
            f"{len(looping)} of its replicas fail{'s' if len(looping) == 1 else ''} over and over"
            f" ({worst.failures} times in a row): {worst.reason}"
        )
    if deployment.wait is not None:
        troubles.append(f"not all of its replicas have a place: {deployment.wait.missing}")
    return "; ".join(troubles)


def _why_nowhere(deployment: Deployment) -> tuple[str, str]:
    wait = deployment.wait
    if wait is None:
        return "pending", "a worker is being chosen"
    if wait.overdue:
        return "failed", f"{why_overdue(deployment)}; it starts as soon as there is one"
    return "pending", wait.missing


def is_crash_loop(report: ReplicaReport) -> bool:
    """Return whether a replica fails again and again; one that is READY or ASLEEP now does not count."""
    return report.failures >= CRASH_LOOP and report.state in _FAILING


_FAILING = (ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.FAILED)


def _instance(
    spec: DeploymentSpec, node: str, workers: Mapping[str, Worker], report: ReplicaReport
) -> dict[str, Any]:
    worker = workers.get(node)
    return {
        "id": report.instance,
        "node": node,
        "node_name": (worker.inventory.name if worker else "") or node,
        "state": "crash_loop" if is_crash_loop(report) else report.state.value,
        "failures": report.failures,
        "progress": report.progress,
        "reason": report.reason,
        "exit_status": report.exit_status,
        "log_tail": list(report.log_tail),
        "address": without_credentials(report.address),
        "endpoint": without_credentials(spec.source_of(report.id.number)) if spec.endpoints else None,
        "pid": report.pid,
        "since": report.since,
        "retry_in": report.retry_in,
    }


def _ordered(key: ReplicaKey) -> ReplicaReport:
    return ReplicaReport(key.attempt(0), ReplicaState.PENDING, progress="ordered from its worker")
