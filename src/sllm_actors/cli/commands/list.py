"""``sllm ls`` and ``sllm ps``: list what is deployed and what runs."""

from __future__ import annotations

import click

from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.answers.status import StatusDocument
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.display.tables import show_deployments, show_instances
from sllm_actors.cli.listing import fetch_list
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.terminal import say, say_json

RUNNING = ("starting", "ready", "asleep", "draining")
"""States of the instances that ``sllm ps`` lists without ``--all``."""

quiet = click.option("-q", "--quiet", is_flag=True, help="Print only the ids, one per line.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(
    "ls",
    cls=ManualCommand,
    short_help="List what is deployed.",
    examples=[
        ("Show all deployments", "sllm ls"),
        ("Delete all of them", "sllm ls --quiet | xargs sllm delete"),
    ],
)
@quiet
@as_json
def list_deployments(*, quiet: bool, as_json: bool) -> None:
    """List deployments, as sllm status does."""
    with GatewayClient() as client:
        answer = fetch_list(client, "/deployments")
    deployments = read(StatusDocument, answer).deployments
    if as_json:
        say_json(answer.get("deployments", []))
    elif not quiet:
        show_deployments(deployments)
    else:
        for each in sorted(deployments, key=lambda deployment: deployment.id):
            say(each.id)


@click.command(
    "ps",
    cls=ManualCommand,
    short_help="List the instances that run.",
    examples=[
        ("Show what runs now", "sllm ps"),
        ("Print the ids of all instances, those that failed, too", "sllm ps --all --quiet"),
    ],
)
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that wait or have failed.")
@quiet
@as_json
def list_instances(*, everything: bool, quiet: bool, as_json: bool) -> None:
    """List the instances that run, of all deployments."""
    with GatewayClient() as client:
        answer = fetch_list(client, "/deployments")
    deployments = read(StatusDocument, answer).deployments
    shown = [one for each in deployments for one in each.instances if everything or one.state in RUNNING]
    if as_json:
        ids = {each.id for each in shown}
        listed = [one for each in answer.get("deployments", []) for one in each.get("instances", [])]
        say_json([one for one in listed if one["id"] in ids])
    elif quiet:
        for instance in sorted(shown, key=lambda instance: instance.id):
            say(instance.id)
    elif shown:
        show_instances(shown)
    else:
        say("No instance runs now. sllm ls lists what is deployed.")
