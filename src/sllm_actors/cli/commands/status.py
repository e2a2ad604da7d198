"""``sllm status``: show the deployments, one of them in detail, the nodes, or the models on their disks."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import click
from attrs import frozen

from sllm_actors.cli import completing
from sllm_actors.cli.answers.deployments import DeploymentDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.answers.status import StatusDocument
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.display.summary import in_total
from sllm_actors.cli.display.tables import (
    refusals,
    show_deployment,
    show_deployments,
    show_models,
    show_nodes,
)
from sllm_actors.cli.errors import CommandFailure, RequestRefused, Unreachable
from sllm_actors.cli.listing import fetch_deployments, fetch_list
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import json_option
from sllm_actors.cli.parameters import FiniteRange, WholeRange
from sllm_actors.cli.terminal import frames, say, say_json, say_to_person

WATCH_SECONDS = 2.0
"""Pause between two looks of ``--watch`` where no other is given."""


class PauseType(FiniteRange):
    """Seconds; a word in their place is probably the ID."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds: an ID goes before --watch", param, ctx)
        return super().convert(value, param, ctx)


@frozen
class Wish:
    """What is to be shown.

    Attributes:
        name: A deployment, by its id or its model; "" for all.
        nodes: The nodes, instead.
        models: The models on their disks, instead.
        limit: The most entries; None for all.
        state: Only deployments, or nodes, in this state; "" for all.
        node: Only deployments with an instance on this worker; "" for all.
    """

    name: str | None
    nodes: bool
    models: bool
    limit: int | None
    state: str
    node: str


@click.command(
    cls=ManualCommand,
    short_help="Show what is deployed and how it is.",
    examples=[
        ("Show all deployments", "sllm status"),
        ("Say why a deployment is as it is, and what would change that", "sllm status qwen"),
        ("Watch the nodes", "sllm status --nodes --watch 5"),
        ("List what has failed, for a script", "sllm status --state failed --json"),
    ],
)
@click.argument("name", required=False, shell_complete=completing.models, metavar="[ID]")
@click.option("--nodes", is_flag=True, help="Show the nodes: workers and gateways.")
@click.option("--models", is_flag=True, help="Show the model files on the workers' disks.")
@click.option(
    "--state",
    default="",
    metavar="STATE",
    show_default="all",
    help="Only deployments (or nodes) in this state.",
)
@click.option(
    "--node",
    shell_complete=completing.workers,
    default="",
    metavar="NODE",
    show_default="all",
    help="Only deployments with an instance on this worker.",
)
@click.option(
    "--limit", type=WholeRange(min=1), metavar="N", show_default="all", help="Show at most N entries."
)
@click.option(
    "-w",
    "--watch",
    type=PauseType(min=0.1, max=86400),
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[SECONDS]",
    show_default="one look",
    help=f"Look again every SECONDS ({WATCH_SECONDS:g}) until ^C.",
)
@json_option
def status(*, watch: float | None, as_json: bool, **chosen: Any) -> None:
    """Show what is deployed and how it is; with ID (or a model's name) one deployment and its instances."""
    wish = Wish(**chosen)
    if sum((wish.name is not None, wish.nodes, wish.models)) > 1:
        raise click.UsageError("ask for one deployment, for the nodes, or for the models")
    if wish.node and (wish.name is not None or wish.nodes or wish.models):
        raise click.UsageError("--node chooses among deployments: leave out the ID, --nodes and --models")
    if wish.state and (wish.name is not None or wish.models):
        raise click.UsageError("--state chooses among deployments or --nodes: leave out the ID and --models")
    if watch is not None and as_json:
        raise click.UsageError("--watch shows tables: leave out --json, or ask again and again")
    with GatewayClient() as client:
        if watch is not None:
            _watch(lambda: _show(_fetch(client, wish), wish), watch)
        elif as_json:
            say_json(_fetch(client, wish, whole=True))
        else:
            _show(_fetch(client, wish), wish)


def fetch_deployment(client: GatewayClient, name: str) -> object:
    """Return the answer about a deployment, by id or else by the name of its model."""
    try:
        if ":" in name:  # as every id has
            return client.request("GET", path_of("deployments", name))
    except RequestRefused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    found = find_deployment(fetch_deployments(client, name), name)
    return client.request("GET", path_of("deployments", found.id))


def _fetch(client: GatewayClient, wish: Wish, *, whole: bool = False) -> object:
    """Return the answer of the gateway; with ``whole``, all that it knows and not only what tables show."""
    if wish.name is not None:
        return fetch_deployment(client, wish.name)
    if wish.models and not whole:
        return fetch_list(client, "/nodes", limit=wish.limit, role="worker")
    if wish.nodes and (wish.state or not whole):
        return fetch_list(client, "/nodes", limit=wish.limit, state=wish.state)
    path = "/status" if whole else "/deployments"
    return fetch_list(client, path, limit=wish.limit, state=wish.state, node=wish.node)


def _show(answer: object, wish: Wish) -> None:
    if wish.name is not None:
        show_deployment(read(DeploymentDocument, answer))
        return
    everything = read(StatusDocument, answer)
    if wish.nodes:
        show_nodes(everything.nodes)
        if everything.head.refused:
            say_to_person(f"\nThe head has refused {refusals(everything.head.refused)}.")
    elif wish.models:
        show_models(everything.nodes)
    else:
        show_deployments(everything.deployments, chosen=bool(wish.state or wish.node))
    if everything.totals is not None and everything.deployments:
        say_to_person(f"\n{in_total(everything.totals)}")


def _watch(show: Callable[[], None], pause: float) -> None:
    """Show something again and again. A gateway that is away for a while is waited for, once it was there."""
    with frames() as frame:
        first = True
        while True:
            with frame():
                try:
                    show()
                except (Unreachable, RequestRefused) as error:
                    if first or not _passes(error):
                        raise
                    say(f"{error.message}\nIt is asked again every {pause:g} s.")
            first = False
            time.sleep(pause)


def _passes(error: CommandFailure) -> bool:
    """Say whether a failure may be over in a moment."""
    return not isinstance(error, RequestRefused) or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
