"""``sllm events``: what the head decided and why, and with ``-f`` what it goes on deciding."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.events import EventDocument, EventsDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.display.event_lines import event_line, title
from sllm_actors.cli.errors import CommandFailure, RequestRefused, Unreachable
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.parameters import MomentType, WholeRange
from sllm_actors.cli.terminal import complain, say, say_json_line, say_to_person

SHOWN = 50
"""How many events are shown where neither ``-n`` nor ``--since`` says how many."""

PAGE = 500
"""Events that are asked for at a time."""

MOST_PAGES = 10_000
"""Pages of one answer: far more than the journal has."""

RETRY_SECONDS = 1.0
"""Pause before a gateway that is away is asked again."""

SILENCE_SECONDS = 60.0
"""How long a gateway that is followed may be silent: it sends a comment every 10 s."""

MICRO = 1_000_000


@click.command(
    cls=ManualCommand,
    short_help="Show what was decided, and why.",
    examples=[
        ("Show the last hour of a model", "sllm events --since 1h qwen"),
        (
            "Follow what is placed and stopped, as JSON for a script",
            "sllm events --follow --kind replica --json",
        ),
    ],
)
@click.argument(
    "name", required=False, default="", shell_complete=completing.models, metavar="[MODEL|NODE|KEY]"
)
@click.option("-f", "--follow", is_flag=True, help="Go on until ^C.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=WholeRange(min=0),
    metavar="N",
    show_default=f"{SHOWN}, or all since --since",
    help="Only the last N.",
)
@click.option(
    "--since",
    type=MomentType(),
    metavar="TIME",
    show_default="none",
    help="All from then on: 90s, 10m, 2h or 3d ago, or a date.",
)
@click.option(
    "--kind",
    default="",
    metavar="KIND",
    show_default="all kinds",
    help="Only this kind, as replica.placed or replica.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line.")
def events(
    *, name: str, follow: bool, count: int | None, since: float | None, kind: str, as_json: bool
) -> None:
    """Show what was decided and why: about a MODEL (or deployment), a NODE, an API KEY, or about all."""
    name = name.encode(errors="replace").decode()
    filters = {key: text for key, text in (("subject", name), ("kind", kind)) if text}
    show = say_json_line if as_json else _Lines().show
    with GatewayClient() as client:
        found, last = _listed(client, filters, count, since)
        for each in found:
            show(each)
        if follow:
            _follow(client, filters, last, show)
        elif not found and not as_json:
            say_to_person("Nothing like that is in the journal.")


class _Lines:
    """Shows events one per line, for a person with a title above the first."""

    def __init__(self) -> None:
        self._titled = False

    def show(self, event: dict[str, Any]) -> None:
        if not self._titled:
            self._titled = True
            say_to_person(title())
        say(event_line(read(EventDocument, event)))


def _listed(
    client: GatewayClient, filters: dict[str, str], count: int | None, since: float | None
) -> tuple[list[dict[str, Any]], int]:
    """Return the events to begin with, and the number behind which others follow."""
    if since is None:
        wanted = SHOWN if count is None else count
        if wanted <= PAGE:
            page = _page(client, filters | {"limit": str(max(1, wanted))})
            return page.events[len(page.events) - wanted :] if wanted else [], page.last
    after = 0 if since is None else max(0, int(since * MICRO) - 1)
    found: deque[dict[str, Any]] = deque(maxlen=count)
    for _ in range(MOST_PAGES):
        page = _page(client, filters | {"limit": str(PAGE), "after": str(after)})
        found += page.events
        after = page.last
        if page.next is None:
            return list(found), after
    raise CommandFailure("the journal has no end: is it an sllm gateway?")


def _page(client: GatewayClient, params: dict[str, str]) -> EventsDocument:
    return read(EventsDocument, client.request("GET", "/events", params=params))


def _follow(
    client: GatewayClient, filters: dict[str, str], after: int, show: Callable[[dict[str, Any]], None]
) -> None:
    """Show what follows, for ever. A gateway that is away or restarts is asked again, from the same place."""
    said = ""
    while True:
        why = f"{client.url} has ended the stream"
        try:
            params = filters | {"follow": "true", "limit": str(PAGE), "after": str(after)}
            with client.following("/events", params, silence=SILENCE_SECONDS) as texts:
                for text in texts:
                    event = _event(text)
                    after, said = event["number"], ""
                    show(event)
        except (Unreachable, RequestRefused) as failure:
            if isinstance(failure, RequestRefused) and failure.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            why = failure.message
        if why != said:
            said = why
            complain(f"{why}: it is asked again every {RETRY_SECONDS:g} s")
        time.sleep(RETRY_SECONDS)


def _event(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
        if isinstance(event, dict) and type(event["number"]) is int:
            return event
    except (ValueError, KeyError):
        pass
    raise CommandFailure("the gateway's events are none of the journal: is it an sllm gateway?")
