"""``sllm logs``: what an engine wrote, and with ``-f`` what it goes on writing."""

from __future__ import annotations

import time
from http import HTTPStatus

import click

from sllm_actors.cli.answers import DeploymentDocument, LogDocument, StatusDocument, read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.lookup import find_deployment

POLL_SECONDS = 0.5
CHUNK_BYTES = 2**20


@click.command()
@click.argument("name", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the instance ends.")
def logs(*, name: str, follow: bool) -> None:
    """Print the end of an instance's log (64 KiB).

    ID is an instance as sllm status ID shows it, or a deployment or model that has just one instance.
    """
    with GatewayClient() as client:
        instance_id = name
        chunk = _chunk(client, instance_id)
        if chunk is None:
            instance_id = _only_instance(client, name)
            chunk = _chunk(client, instance_id)
        while chunk is not None:
            # Raw on purpose: colours and carriage returns are part of a log. click drops them for a pipe.
            click.echo(chunk.text, nl=False)
            if not follow or chunk.ended:
                return
            if not chunk.text:
                time.sleep(POLL_SECONDS)
            chunk = _chunk(client, instance_id, chunk.next_offset)
        click.echo(f"{instance_id} and its log are gone", err=True)


def _chunk(client: GatewayClient, instance_id: str, offset: int | None = None) -> LogDocument | None:
    """Fetch a piece of the log, or None when there is no such instance."""
    params = None if offset is None else {"offset": offset, "limit": CHUNK_BYTES}
    try:
        return read(
            LogDocument, client.request("GET", f"{path_of('instances', instance_id)}/logs", params=params)
        )
    except RequestRefused as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _only_instance(client: GatewayClient, name: str) -> str:
    deployments = read(StatusDocument, client.request("GET", "/status")).deployments
    try:
        found: DeploymentDocument = find_deployment(deployments, name)
    except CommandFailure:
        raise CommandFailure(f"no instance {name}: sllm status ID lists those of a deployment") from None
    ids = sorted(instance.id for instance in found.instances)
    if not ids:
        raise CommandFailure(f"{found.id} has no instance now: there is no log")
    if len(ids) > 1:
        raise CommandFailure(f"{found.id} has {len(ids)} instances: name one of {', '.join(ids)}")
    return ids[0]
