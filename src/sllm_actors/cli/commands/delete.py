"""``sllm delete``: delete deployments, and return when they are gone."""

from __future__ import annotations

import time
from http import HTTPStatus

import click

from sllm_actors.cli import completing
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.listing import fetch_deployments
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import timeout_option
from sllm_actors.cli.parameters import NAME
from sllm_actors.cli.terminal import say

POLL_SECONDS = 0.3
"""Pause between two questions whether the deployments are gone."""


@click.command(
    cls=ManualCommand,
    short_help="Delete deployments.",
    examples=[
        ("Delete a model", "sllm delete facebook/opt-1.3b --backend vllm"),
        ("Delete several, and wait for ten minutes at most", "sllm delete small big --timeout 600"),
    ],
)
@click.argument(
    "models", type=NAME, shell_complete=completing.models, nargs=-1, required=True, metavar="M..."
)
@click.option(
    "--backend",
    type=NAME,
    shell_complete=completing.backends,
    show_default="the only one",
    help="Which deployment of the model, where there are several.",
)
@timeout_option(180.0, "How long to wait until they are gone.")
def delete(*, models: tuple[str, ...], backend: str | None, timeout: float) -> None:
    """Delete deployments, each M a model or an id as sllm status shows it.

    Requests under way are finished first. If one name is unknown or ambiguous, nothing is deleted.
    """
    with GatewayClient() as client:
        # A dictionary, not a set: in the order given, each once.
        found = {name: find_deployment(fetch_deployments(client, name), name, backend) for name in models}
        ids = list(dict.fromkeys(each.id for each in found.values()))
        waiting = [deployment_id for deployment_id in ids if _exists(client, "DELETE", deployment_id)]
        deadline = time.monotonic() + timeout
        while waiting := [
            deployment_id for deployment_id in waiting if _exists(client, "GET", deployment_id)
        ]:
            if time.monotonic() > deadline:
                raise CommandFailure(
                    f"{', '.join(waiting)} still not gone after {timeout:.0f} s: the deletion goes on"
                )
            time.sleep(POLL_SECONDS)
    for deployment_id in ids:
        say(f"Deleted: {deployment_id}")


def _exists(client: GatewayClient, method: str, deployment_id: str) -> bool:
    """Send a request about a deployment, and say whether the deployment exists: any answer but 404."""
    try:
        client.request(method, path_of("deployments", deployment_id))
    except RequestRefused as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return False
        raise
    return True
