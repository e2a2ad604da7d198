"""``sllm drain``, ``undrain`` and ``node remove``: take a node out of service, for a while or for good."""

from __future__ import annotations

import time

import click

from sllm_actors.cli import completing, progress
from sllm_actors.cli.answers.nodes import DrainDocument, RemovalDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.manual import ManualCommand, ManualGroup
from sllm_actors.cli.options.common import json_option, timeout_option
from sllm_actors.cli.parameters import NAME
from sllm_actors.cli.progress import PatientPoll, reporting
from sllm_actors.cli.terminal import say, say_json


@click.command(
    cls=ManualCommand,
    short_help="Move a worker's replicas away, and place no more there.",
    examples=[
        (
            "Restart a machine whose replicas were moved away",
            "sllm drain rack-3 --wait && ssh rack-3 sudo reboot",
        ),
    ],
)
@click.argument("node", type=NAME, shell_complete=completing.workers, metavar="NODE")
@click.option("--wait/--no-wait", default=False, help="Wait until no replica is left on it.")
@timeout_option(1800.0)
@json_option
def drain(*, node: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Place no more replicas on the worker NODE (a name or an id), and move those that it has.

    A replica is stopped there when one elsewhere is ready. The worker stays drained, also if it is started
    anew, until sllm undrain NODE.
    """
    path = f"{path_of('nodes', node)}/drain"
    deadline = time.monotonic() + timeout
    with GatewayClient() as client:
        answer = client.request("POST", path)
        drained = read(DrainDocument, answer)
        patience = PatientPoll()
        with reporting(silent=as_json or not wait) as report:
            while wait and drained.replicas:
                report(drained.message)
                if time.monotonic() > deadline:
                    raise CommandFailure(f"{drained.message} after {timeout:g} s: draining goes on")
                time.sleep(progress.POLL_SECONDS)
                # The same request again says how far it is, and draining twice is draining once.
                answer = patience.ask(lambda: client.request("POST", path)) or answer
                drained = read(DrainDocument, answer)
    if as_json:
        say_json(answer)
    else:
        say(drained.message)


@click.command(
    cls=ManualCommand,
    short_help="Let a drained worker have replicas again.",
    examples=[
        ("Take a machine back into service", "sllm undrain rack-3"),
    ],
)
@click.argument("node", type=NAME, shell_complete=completing.workers, metavar="NODE")
@json_option
def undrain(*, node: str, as_json: bool) -> None:
    """Let replicas be placed on the worker NODE (a name or an id) again."""
    with GatewayClient() as client:
        answer = client.request("POST", f"{path_of('nodes', node)}/undrain")
    if as_json:
        say_json(answer)
    else:
        say(read(DrainDocument, answer).message)


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
