"""Prints tables of deployments, their instances, nodes and models, for a person."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from math import ceil

from sllm_actors.cli.answers.deployments import DeploymentDocument, InstanceDocument
from sllm_actors.cli.answers.nodes import ForkServerDocument, NodeDocument
from sllm_actors.cli.terminal import say, show
from sllm_actors.models.byte_size import shown_bytes

from .ages import age
from .event_lines import event_line
from .summary import notes, places
from .text_table import Notes, cell, sentence, table


def show_deployments(deployments: list[DeploymentDocument], *, chosen: bool = False) -> None:
    """Print one line per deployment, and what there is to say of it; at a terminal, below that line.

    Args:
        deployments: They are sorted by their ids.
        chosen: Whether others were left out.
    """
    if not deployments and chosen:
        say("No deployment is so. sllm status lists all.")
        return
    if not deployments:
        say("Nothing is deployed. Deploy a model with: sllm deploy ID_OR_PATH")
        return
    lines = table(
        "DEPLOYMENT", "STATUS", "REPLICAS", "AGE", "WHERE", "DETAIL", below=("DETAIL",), narrow=("WHERE",)
    )
    now = time.time()
    for each in sorted(deployments, key=lambda deployment: deployment.id):
        replicas = f"{each.ready_replicas}/{each.desired_replicas}"
        known = (each.id, each.state, replicas, age(each.since or each.created, now), places(each))
        lines.add_row(*(cell(value) for value in known), Notes(notes(each, now)))
    show(lines)


_MEMORY_BY = {"declared": "declared", "measured": "measured", "files": "the size of its files"}


def show_deployment(deployment: DeploymentDocument) -> None:
    """Print a deployment, its settings, its instances, and the last log lines of those that have failed."""
    facts = table("", "", header=False)
    facts.add_row(cell("deployment"), cell(deployment.id))
    facts.add_row(cell("status"), cell(deployment.state))
    facts.add_row(cell("detail"), sentence(deployment.detail))
    facts.add_row(cell("revision"), cell(deployment.revision))
    if rollout := deployment.rollout:
        shown = f"revision {rollout.revision} {rollout.state}, {rollout.ready} of {rollout.wanted} ready"
        facts.add_row(cell("rollout"), sentence(f"{shown}: {rollout.reason}" if rollout.reason else shown))
    facts.add_row(cell("replicas"), cell(replicas(deployment)))
    now = time.time()
    facts.add_row(cell("requests"), cell(requests(deployment, now)))
    if deployment.idle_since:
        facts.add_row(cell("idle"), cell(idle(deployment, now)))
    if deployment.memory:
        origin = _MEMORY_BY.get(deployment.memory_by, deployment.memory_by)
        facts.add_row(cell("memory"), cell(f"{shown_bytes(deployment.memory)} for each replica ({origin})"))
    if deployment.gpu_memory_by:
        facts.add_row(cell("gpu memory"), sentence(gpu_memory(deployment)))
    for key, value in sorted(deployment.spec.items()):
        if key not in ("memory", "gpu_memory", "model", "backend") and value not in (None, [], {}):
            facts.add_row(cell(key), sentence(value if isinstance(value, str) else json.dumps(value)))
    show(facts)
    if deployment.instances:
        say()
        show_instances(deployment.instances)
    if deployment.events:
        say("\nWhat was decided last:")
        for event in deployment.events:
            say(f"  {event_line(event)}")
    for each in deployment.instances:
        if (each.state == "failed" or each.failures) and each.log_tail:
            say(f"\nLast lines of {each.id}:")
            for line in each.log_tail:
                say(f"  {line}")


def gpu_memory(deployment: DeploymentDocument) -> str:
    """Return in words how much of each GPU a replica takes that does not have it whole."""
    if deployment.gpu_memory_by == "unknown":
        return "whole GPUs for each replica (auto, and no worker has seen the model's files yet)"
    made = f": {deployment.gpu_memory_of}" if deployment.gpu_memory_of else ""
    size = f"{shown_bytes(deployment.gpu_memory)} of each GPU for each replica"
    return f"{size} ({deployment.gpu_memory_by}{made})"


def replicas(deployment: DeploymentDocument) -> str:
    """Return in words how many replicas of a deployment serve, and how many are wanted."""
    asleep = f", {deployment.asleep_replicas} asleep" if deployment.asleep_replicas else ""
    return f"{deployment.ready_replicas}/{deployment.desired_replicas}{asleep}"


def idle(deployment: DeploymentDocument, now: float) -> str:
    """Return in words for how long a deployment has no request, and for how long it keeps its replicas."""
    left = deployment.keep_alive_left
    ends = "" if left is None else f"; without one its replicas go in {ceil(left)} s"
    return f"no request for {age(deployment.idle_since or now, now)}{ends}"


def requests(deployment: DeploymentDocument, now: float) -> str:
    """Return in words how many requests there are for a deployment."""
    if not deployment.gateways:
        return "none"
    where = "1 gateway" if deployment.gateways == 1 else f"{deployment.gateways} gateways"
    wait, since = deployment.expected_wait, age(deployment.held_since or 0.0, now)
    held = f"{deployment.held} held"
    held += f" (some for {since})" if deployment.held and since else ""
    held += "" if wait is None else f" for about {max(1, ceil(wait))} s more"
    return f"{deployment.in_flight} in flight, {held}, at {where}"


def show_instances(instances: Iterable[InstanceDocument]) -> None:
    """Print one line per instance, and why it is as it is; at a terminal, below that line."""
    listed = sorted(instances, key=lambda instance: instance.id)
    external = any(each.endpoint for each in listed)
    place = ("ENDPOINT",) if external else ()
    columns = ("INSTANCE", "STATUS", "AGE", "FAILURES", "NODE", "PID", *place, "DETAIL")
    lines = table(*columns, below=("DETAIL", *place), narrow=("PID", "FAILURES"))
    now = time.time()
    for each in listed:
        detail = each.reason or each.progress or ""
        if each.exit_status and each.exit_status not in detail:
            detail = f"{detail or 'ended before'} ({each.exit_status})"
        known = (each.id, each.state, age(each.since, now), each.failures, each.where, each.pid or None)
        endpoint = (each.endpoint,) if external else ()
        old = "" if each.node_state == "up" else f"its worker is {each.node_state}: this may be old"
        lines.add_row(*(cell(value) for value in (*known, *endpoint)), Notes([detail, old]))
    show(lines)


_BELOW_NODES = ("DETAIL", "FORK SERVERS", "LABELS")
_OF_NODES = (
    *("NODE", "ROLE", "STATUS", "AGE", "HOST", "GPUS FREE", "CPUS", "MEMORY FREE"),
    *("FORK SERVERS", "LABELS", "DETAIL"),
)


def show_nodes(nodes: list[NodeDocument]) -> None:
    """Print one line per node, and what there is to say of it; at a terminal, below that line."""
    lines = table(*_OF_NODES, below=_BELOW_NODES, narrow=("MEMORY FREE", "CPUS", "HOST"))
    now = time.time()
    for each in sorted(nodes, key=lambda node: (node.role, node.name or node.id)):
        labels = " ".join(f"{key}={value}" for key, value in sorted(each.labels.items()))
        lines.add_row(
            cell(each.name or each.id),
            cell(each.role),
            cell("draining" if each.draining and each.state == "up" else each.state),
            cell(age(each.since, now)),
            cell(each.host),
            cell(_gpus(each)),
            cell(None if each.cpus is None else f"{each.cpus:g}"),
            cell(_memory(each)),
            cell(", ".join(_fork_server(one) for one in each.fork_servers)),
            cell(labels),
            Notes(_about(each)),
        )
    show(lines)


def show_models(nodes: list[NodeDocument]) -> None:
    """Print one line per model on a node's disk: the nodes by name, of each those used last first."""
    lines = table("MODEL", "NODE", "SIZE", "LAST USED")
    for node in sorted(nodes, key=lambda node: node.name or node.id):
        for each in node.models:
            used = datetime.fromtimestamp(each.last_used).astimezone() if each.last_used else None
            lines.add_row(
                cell(each.source),
                cell(node.name or node.id),
                cell(shown_bytes(each.size)),
                cell(f"{used:%Y-%m-%d %H:%M}" if used else "never"),
            )
    if lines.rows:
        show(lines)
    else:
        say("No machine has brought a model to its disk yet.")


def refusals(counts: dict[str, int]) -> str:
    """Return what was refused since a node started, the most frequent first, in words."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{why} ({count})" for why, count in ordered)


def _about(node: NodeDocument) -> Iterator[str]:
    if node.reason:
        yield node.reason
    if node.draining:
        left = f"{node.replicas} replica{'' if node.replicas == 1 else 's'} left"
        yield f"it is being drained, with {left}" if node.replicas else "it is drained"
    for gateway in node.unreached_by:
        yield f"{gateway.gateway} has no link to it: {gateway.reason}"
    if node.refused:
        yield f"it has refused {refusals(node.refused)}"
    for server in node.fork_servers:
        if server.reason:
            yield f"{server.backend} has no fork server: {server.reason}"


def _fork_server(server: ForkServerDocument) -> str:
    return f"{server.backend} {_gib(server.memory) if server.state == 'ready' else server.state}"


def _gpus(node: NodeDocument) -> str | None:
    part = _part(node.gpus_free, node.gpus_total)
    return f"{part} ({node.gpus_stuck} stuck)" if node.gpus_stuck else part


def _memory(node: NodeDocument) -> str | None:
    gib = [None if size is None else f"{size / 2**30:.1f}" for size in (node.memory_free, node.memory_total)]
    part = _part(*gib)
    return part and f"{part} GiB"


def _part(free: object, total: object) -> str | None:
    return None if total is None else f"{'?' if free is None else free}/{total}"


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**30:.1f} GiB"
