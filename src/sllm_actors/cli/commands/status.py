"""``sllm status``: the deployments, one of them in detail, or the nodes."""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus

import click

from sllm_actors.cli.answers import DeploymentDocument, ForkServerDocument, NodeDocument, StatusDocument, read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import RequestRefused
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.terminal import cell, complain, say, say_json, sentence, show, table
from sllm_actors.models.byte_size import shown_bytes


@click.command()
@click.argument("name", required=False, metavar="[ID]")
@click.option("--nodes", "show_nodes", is_flag=True, help="Show the machines instead of the deployments.")
@click.option("--models", "show_models", is_flag=True, help="Show the model files on the machines' disks.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
def status(*, name: str | None, show_nodes: bool, show_models: bool, as_json: bool) -> None:
    """Show what is deployed and how it is; with ID (or a model's name) one deployment and its instances."""
    if sum((name is not None, show_nodes, show_models)) > 1:
        raise click.UsageError("ask for one deployment, for the nodes, or for the models")
    with GatewayClient() as client:
        answer = _one(client, name) if name is not None else client.request("GET", "/status")
    if as_json:
        say_json(answer)
    elif name is not None:
        show_deployment(read(DeploymentDocument, answer))
    else:
        everything = read(StatusDocument, answer)
        if everything.head.state != "up":
            complain("warning: the head is down: what is shown is the gateway's last knowledge")
        if show_nodes:
            show_nodes_table(everything.nodes)
        elif show_models:
            show_models_table(everything.nodes)
        else:
            show_deployments(everything.deployments)


def _one(client: GatewayClient, name: str) -> object:
    """Fetch a deployment by id, or else by the name of its model."""
    try:
        if ":" in name:  # as every id has
            return client.request("GET", path_of("deployments", name))
    except RequestRefused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    found = find_deployment(read(StatusDocument, client.request("GET", "/status")).deployments, name)
    return client.request("GET", path_of("deployments", found.id))


def show_deployments(deployments: list[DeploymentDocument]) -> None:
    """Print one line per deployment."""
    if not deployments:
        say("Nothing is deployed. Deploy a model with: sllm deploy --model ID_OR_PATH")
        return
    lines = table("DEPLOYMENT", "STATUS", "REPLICAS", "DETAIL")
    for each in sorted(deployments, key=lambda deployment: deployment.id):
        replicas = f"{each.ready_replicas}/{each.desired_replicas}"
        lines.add_row(cell(each.id), cell(each.state), cell(replicas), sentence(each.detail))
    show(lines)


def show_deployment(deployment: DeploymentDocument) -> None:
    """Print a deployment, its settings and its instances."""
    facts = table("", "")
    facts.show_header = False
    facts.add_row(cell("deployment"), cell(deployment.id))
    facts.add_row(cell("status"), cell(deployment.state))
    facts.add_row(cell("detail"), sentence(deployment.detail))
    facts.add_row(cell("revision"), cell(deployment.revision))
    facts.add_row(cell("replicas"), cell(f"{deployment.ready_replicas}/{deployment.desired_replicas}"))
    for key, value in sorted(deployment.spec.items()):
        if key not in ("model", "backend") and value not in (None, [], {}):
            facts.add_row(cell(key), sentence(value if isinstance(value, str) else json.dumps(value)))
    show(facts)
    if not deployment.instances:
        return
    say()
    lines = table("INSTANCE", "STATUS", "FAILURES", "NODE", "PID", "DETAIL")
    for each in sorted(deployment.instances, key=lambda instance: instance.id):
        detail = each.reason or each.progress or ""
        if each.exit_status and each.exit_status not in detail:
            detail = f"{detail or 'ended before'} ({each.exit_status})"
        shown = (each.id, each.state, each.failures, each.node, each.pid)
        lines.add_row(*(cell(value) for value in shown), sentence(detail))
    show(lines)
    for each in deployment.instances:
        if (each.state == "failed" or each.failures) and each.log_tail:
            say(f"\nLast lines of {each.id}:")
            for line in each.log_tail:
                say(f"  {line}")


def show_nodes_table(nodes: list[NodeDocument]) -> None:
    """Print one line per node, and below them why a process that engines are forked from is not ready."""
    lines = table(
        "NODE", "ROLE", "STATUS", "HOST", "GPUS FREE", "CPUS", "MEMORY FREE", "FORK SERVERS", "LABELS"
    )
    for each in sorted(nodes, key=lambda node: (node.role, node.name or node.id)):
        labels = " ".join(f"{key}={value}" for key, value in sorted(each.labels.items()))
        lines.add_row(
            cell(each.name or each.id),
            cell(each.role),
            cell(each.state),
            cell(each.host),
            cell(_gpus(each)),
            cell(None if each.cpus is None else f"{each.cpus:g}"),
            cell(_part(_gib(each.memory_free), _gib(each.memory_total))),
            cell(", ".join(_fork_server(one) for one in each.fork_servers)),
            cell(labels),
        )
    show(lines)
    for node in nodes:
        for server in node.fork_servers:
            if server.reason:
                say(f"\n{node.name or node.id}: {server.backend} has no fork server: {server.reason}")


def show_models_table(nodes: list[NodeDocument]) -> None:
    """Print one line per model on a node's disk, those used last first."""
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
    if lines.row_count:
        show(lines)
    else:
        say("No machine has brought a model to its disk yet.")


def _fork_server(server: ForkServerDocument) -> str:
    return f"{server.backend} {_gib(server.memory) if server.state == 'ready' else server.state}"


def _gpus(node: NodeDocument) -> str | None:
    part = _part(node.gpus_free, node.gpus_total)
    return f"{part} ({node.gpus_stuck} stuck)" if node.gpus_stuck else part


def _part(free: object, total: object) -> str | None:
    return None if total is None else f"{'?' if free is None else free}/{total}"


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**30:.1f} GiB"
