"""``sllm logs``: print what an engine wrote, and with ``-f`` what it goes on writing."""

from __future__ import annotations

import time
from contextlib import nullcontext
from http import HTTPStatus

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.deployments import DeploymentDocument
from sllm_actors.cli.answers.logs import LogDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.listing import fetch_deployments
from sllm_actors.cli.lookup import find_deployment, in_words
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.parameters import NAME, WholeRange
from sllm_actors.cli.terminal import complain, say_raw, saying_pieces

POLL_SECONDS = 0.5
"""Pause between two questions for more of a log."""

CHUNK_BYTES = 2**16
"""Bytes of a log that a gateway returns at a time, at most."""

FURTHEST_BACK = 2**24
"""How far before the end of a log ``-n`` looks for lines, in bytes: as much as a worker keeps of a log."""


@click.command(
    cls=ManualCommand,
    short_help="Print an engine's log.",
    examples=[
        (
            "Follow the log of a model's only instance, from its last 20 lines",
            "sllm logs --follow --lines 20 qwen",
        ),
        ("Print that of one instance of several", "sllm logs qwen:vllm@1.0"),
    ],
)
@click.argument("name", type=NAME, shell_complete=completing.models, metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the instance ends.")
@click.option(
    "-n",
    "--lines",
    type=WholeRange(min=0),
    metavar="N",
    show_default="the last 64 KiB",
    help="Begin with the last N lines.",
)
@click.option("--raw", is_flag=True, help="Pass on control characters too: they can steer a terminal.")
def logs(*, name: str, follow: bool, lines: int | None, raw: bool) -> None:
    """Print the end of an instance's log.

    ID is an instance as sllm status ID shows it, or a deployment or model that has just one instance. Colours
    and other control characters are left out, as an engine may print what its users sent.
    """
    with GatewayClient() as client, nullcontext(say_raw) if raw else saying_pieces() as say_piece:
        instance_id = name
        # Only ids have an @: nothing else is worth asking for.
        chunk = _chunk(client, instance_id) if "@" in name else None
        if chunk is None:
            instance_id = _only_instance(client, name)
            chunk = _chunk(client, instance_id)
        if chunk is not None and lines is not None:
            chunk = _last_lines(client, instance_id, chunk, lines)
        while chunk is not None:
            say_piece(chunk.text)
            if not follow or chunk.ended:
                return
            if not chunk.text:
                time.sleep(POLL_SECONDS)
            chunk = _chunk(client, instance_id, chunk.next_offset)
        complain(f"{instance_id} and its log are gone")


def _last_lines(client: GatewayClient, instance_id: str, end: LogDocument, count: int) -> LogDocument:
    """Return the end of a log, made shorter or longer until it has ``count`` lines or is the whole log."""
    text, offset = end.text, end.offset
    while offset > 0 and _lines_in(text) <= count and end.next_offset - offset < FURTHEST_BACK:
        begin = max(0, offset - CHUNK_BYTES)
        earlier = _chunk(client, instance_id, begin, offset - begin)
        if earlier is None or not earlier.offset < earlier.next_offset <= offset:  # dropped by now
            break
        text, offset = earlier.text + text, earlier.offset
    kept = text.split("\n")[-count - (1 if text.endswith("\n") else 0) :] if count else [""]
    return LogDocument("\n".join(kept), offset, end.next_offset, end.ended)


def _lines_in(text: str) -> int:
    return text.count("\n") + (0 if text.endswith("\n") else 1)


def _chunk(
    client: GatewayClient, instance_id: str, offset: int | None = None, limit: int = CHUNK_BYTES
) -> LogDocument | None:
    """Fetch a piece of the log, or None when there is no such instance."""
    params = None if offset is None else {"offset": offset, "limit": limit}
    try:
        return read(
            LogDocument, client.request("GET", f"{path_of('instances', instance_id)}/logs", params=params)
        )
    except RequestRefused as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _only_instance(client: GatewayClient, name: str) -> str:
    known = fetch_deployments(client, name)
    try:
        found: DeploymentDocument = find_deployment(known, name)
    except CommandFailure:
        raise CommandFailure(
            f"no instance {in_words(name)}: sllm status ID lists those of a deployment"
        ) from None
    ids = sorted(instance.id for instance in found.instances)
    if not ids:
        raise CommandFailure(f"{found.id} has no instance now: there is no log")
    if len(ids) > 1:
        raise CommandFailure(f"{found.id} has {len(ids)} instances: name one of {', '.join(ids)}")
    return ids[0]
