"""``sllm delete``: delete deployments, and return when they are gone."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.deployments import DeploymentDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.listing import fetch_deployments
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import timeout_option
from sllm_actors.cli.parameters import NAME
from sllm_actors.cli.progress import Report, reporting
from sllm_actors.cli.terminal import say

POLL_SECONDS = 0.3
"""Pause between two questions whether the deployments are gone."""

SILENT_SECONDS = 2.0
"""How long a deletion takes until it is told what it waits for: mostly requests that end first."""


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
        waiting = [each for each in ids if _ask(client, "DELETE", each) is not None]
        with reporting(err=True) as report:
            _wait_until_gone(client, waiting, timeout, report)
    for deployment_id in ids:
        say(f"Deleted: {deployment_id}")


def _wait_until_gone(client: GatewayClient, ids: list[str], timeout: float, report: Report) -> None:
    began = time.monotonic()
    while left := [(each, answer) for each in ids if (answer := _ask(client, "GET", each)) is not None]:
        ids = [each for each, _ in left]
        waited = time.monotonic() - began
        if waited > timeout:
            raise CommandFailure(
                f"{', '.join(ids)} still not gone after {timeout:.0f} s: the deletion goes on"
            )
        if waited > SILENT_SECONDS:
            first = read(DeploymentDocument, left[0][1])
            report(f"{first.id}: {first.detail or first.state}")
        time.sleep(POLL_SECONDS)


def _ask(client: GatewayClient, method: str, deployment_id: str) -> Any:
    """Send a request about a deployment, and return its answer; None if there is no such deployment."""
    try:
        return client.request(method, path_of("deployments", deployment_id))
    except RequestRefused as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
