"""``sllm keys``: who may send requests to models, and with which share."""

from __future__ import annotations

import time

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.keys import DeletedKeyDocument, KeyDocument, KeysDocument, MadeKeyDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.display.ages import age
from sllm_actors.cli.display.text_table import cell, table
from sllm_actors.cli.manual import ManualCommand, ManualGroup
from sllm_actors.cli.options.common import json_option
from sllm_actors.cli.parameters import NAME, FiniteRange
from sllm_actors.cli.terminal import complain, say, say_json, show

SHARE = FiniteRange()

named = click.argument("name", type=NAME, shell_complete=completing.keys, metavar="NAME")


@click.group(cls=ManualGroup, short_help="Make and delete keys for requests to models.")
def keys() -> None:
    """Manage API keys: who may send requests to models through a gateway that listens beyond loopback.

    A key opens requests to models and the list of models; everything else wants the admin key.
    """


@keys.command(
    cls=ManualCommand,
    short_help="Make a key, and print it once.",
    examples=[
        ("Make a key for a team", "sllm keys create research"),
        (
            "Make one with twice the share of others",
            "KEY=$(sllm keys create chat --share 2)",
        ),
    ],
)
@click.argument("name", type=NAME, metavar="NAME")
@click.option(
    "--share",
    type=SHARE,
    default=1.0,
    show_default=True,
    metavar="N",
    help="Its share, beside those of other keys, of replicas that are full.",
)
@json_option
def create(*, name: str, share: float, as_json: bool) -> None:
    """Make a key called NAME, and print it: it is not kept anywhere, and is never shown again."""
    with GatewayClient() as client:
        answer = client.request("POST", "/keys", body={"name": name, "share": share})
    if as_json:
        say_json(answer)
        return
    made = read(MadeKeyDocument, answer)
    say(made.key)
    complain(f"This is the key {made.name}. Keep it: it is not shown again.")


@keys.command(
    "list",
    cls=ManualCommand,
    short_help="List the keys.",
    examples=[("Show all keys, and their shares", "sllm keys list")],
)
@json_option
def list_keys(*, as_json: bool) -> None:
    """List the keys by name, with their shares; the keys themselves are known to their owners alone."""
    with GatewayClient() as client:
        answer = client.request("GET", "/keys")
    if as_json:
        say_json(answer)
        return
    found = read(KeysDocument, answer).keys
    if not found:
        say("There are no keys. sllm keys create NAME makes one.")
        return
    shown = table("NAME", "SHARE", "AGE")
    now = time.time()
    for each in found:
        shown.add_row(cell(each.name), cell(f"{each.share:g}"), cell(age(each.created, now)))
    show(shown)


@keys.command(
    cls=ManualCommand,
    short_help="Give a key another share.",
    examples=[("Let a key have three times the share of one that has 1", "sllm keys update batch --share 3")],
)
@named
@click.option(
    "--share",
    type=SHARE,
    required=True,
    metavar="N",
    help="Its share from now on, beside those of other keys.",
)
@json_option
def update(*, name: str, share: float, as_json: bool) -> None:
    """Give the key NAME another share: requests that come from now on have it."""
    with GatewayClient() as client:
        answer = client.request("PATCH", path_of("keys", name), body={"share": share})
    if as_json:
        say_json(answer)
    else:
        updated = read(KeyDocument, answer)
        say(f"The key {updated.name} has the share {updated.share:g}.")


@keys.command(
    cls=ManualCommand,
    short_help="Delete a key: it is refused from then on.",
    examples=[("Take back a key that was lost", "sllm keys delete research")],
)
@named
@json_option
def delete(*, name: str, as_json: bool) -> None:
    """Delete the key NAME: gateways refuse it from then on. Answers that are under way go on."""
    with GatewayClient() as client:
        answer = client.request("DELETE", path_of("keys", name))
    if as_json:
        say_json(answer)
    else:
        say(read(DeletedKeyDocument, answer).message)
