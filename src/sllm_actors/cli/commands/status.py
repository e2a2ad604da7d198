"""``sllm status``: show the deployments, one of them in detail, the nodes, or the models on their disks."""

from __future__ import annotations

from http import HTTPStatus

import click

from sllm_actors.cli.answers import DeploymentDocument, StatusDocument, read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import RequestRefused
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.tables import show_deployment, show_deployments, show_models, show_nodes
from sllm_actors.cli.terminal import complain, say_json


@click.command()
@click.argument("name", required=False, metavar="[ID]")
@click.option("--nodes", is_flag=True, help="Show the nodes: head, workers and gateways.")
@click.option("--models", is_flag=True, help="Show the model files on the workers' disks.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
def status(*, name: str | None, nodes: bool, models: bool, as_json: bool) -> None:
    """Show what is deployed and how it is; with ID (or a model's name) one deployment and its instances."""
    if sum((name is not None, nodes, models)) > 1:
        raise click.UsageError("ask for one deployment, for the nodes, or for the models")
    with GatewayClient() as client:
        answer = fetch_deployment(client, name) if name is not None else client.request("GET", "/status")
    if as_json:
        say_json(answer)
    elif name is not None:
        show_deployment(read(DeploymentDocument, answer))
    else:
        everything = read(StatusDocument, answer)
        if everything.head.state != "up":
            complain("warning: the head is down: what is shown is the gateway's last knowledge")
        if nodes:
            show_nodes(everything.nodes)
        elif models:
            show_models(everything.nodes)
        else:
            show_deployments(everything.deployments)


def fetch_deployment(client: GatewayClient, name: str) -> object:
    """Return the answer about a deployment, by id or else by the name of its model."""
    try:
        if ":" in name:  # as every id has
            return client.request("GET", path_of("deployments", name))
    except RequestRefused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    found = find_deployment(read(StatusDocument, client.request("GET", "/status")).deployments, name)
    return client.request("GET", path_of("deployments", found.id))
