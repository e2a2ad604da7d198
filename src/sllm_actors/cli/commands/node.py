"""``sllm node``: what is to be done with one node for good."""

from __future__ import annotations

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers import RemovalDocument, read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.manual import ManualCommand, ManualGroup
from sllm_actors.cli.options.common import json_option
from sllm_actors.cli.parameters import NAME
from sllm_actors.cli.terminal import say, say_json


@click.group(cls=ManualGroup, short_help="Forget a node that will not come back.")
def node() -> None:
    """Manage the cluster's nodes (sllm status --nodes lists them)."""


@node.command(
    cls=ManualCommand,
    short_help="Forget a node that will not come back.",
    examples=[("Give another machine the name of one that was lost", "sllm node remove rack-3")],
)
@click.argument("name", type=NAME, shell_complete=completing.workers, metavar="NODE")
@json_option
def remove(*, name: str, as_json: bool) -> None:
    """Forget a worker or gateway NODE (a name or an id) that will not come back.

    Its name and its id are free for another machine then. A node that is up is refused: drain it and stop it
    first. Removing one that is not known does nothing.
    """
    with GatewayClient() as client:
        answer = client.request("DELETE", path_of("nodes", name))
    if as_json:
        say_json(answer)
    else:
        say(read(RemovalDocument, answer).message)
