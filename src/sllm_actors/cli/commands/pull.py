"""``sllm pull``: bring the files of a model to workers before anybody needs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sllm_actors.cli import completing, document, progress
from sllm_actors.cli.answers.pulls import PullDocument, PulledDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import source_option
from sllm_actors.cli.parameters import NAME, TEXT
from sllm_actors.cli.progress import PatientPoll, reporting
from sllm_actors.cli.terminal import complain, say, say_json_line
from sllm_actors.models.byte_size import shown_bytes

_TYPED = {"source": "--source", "backend": "--backend", "workers": "--worker"}
_LOST = ("absent", "away")
"""States of a worker that was started anew, or cannot be reached: it is asked to begin again."""


@click.command(
    cls=ManualCommand,
    short_help="Bring a model's files to workers.",
    examples=[
        (
            "Have the files of a model on two workers",
            "sllm pull hf:Qwen/Qwen3-8B --worker rack-1 --worker rack-2",
        ),
        (
            "Bring those of a deployment everywhere, and go on with other work",
            "sllm pull qwen --all-workers --no-wait",
        ),
        ("End that", "sllm pull qwen --cancel"),
    ],
)
@click.argument("model", type=NAME, shell_complete=completing.models)
@click.option(
    "--backend",
    type=NAME,
    shell_complete=completing.backends,
    show_default="that of the deployment, or vllm",
    help="Whose engines are to load the files.",
)
@source_option("MODEL")
@click.option(
    "--worker",
    "workers",
    type=TEXT,
    shell_complete=completing.workers,
    multiple=True,
    metavar="W",
    help="A worker, by name or id; repeatable.",
)
@click.option("--all-workers", is_flag=True, help="Bring them to every worker that is up.")
@click.option("--wait/--no-wait", default=True, help="Wait until the files are there.")
@click.option("--cancel", is_flag=True, help="End what an earlier pull has begun.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on a line whenever it is further.")
def pull(
    *,
    model: str,
    backend: str | None,
    source: str | None,
    workers: tuple[str, ...],
    all_workers: bool,
    wait: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Bring the files of MODEL to workers, without serving it. What is there already is left as it is.

    MODEL is a deployment, or what sllm deploy takes. Without --worker the files go to the workers that run
    the deployment, or else to the one that would get its first replica. ^C only stops watching.
    """
    if workers and all_workers:
        raise click.UsageError("give --worker or --all-workers, not both")
    body = _body(model, backend, source, workers, everywhere=all_workers)
    with GatewayClient() as client:
        try:
            answer = client.request("POST", "/models/pull", body={**body, "cancel": cancel})
        except RequestRefused as refused:
            raise refused.naming(_TYPED) from None
        asked = read(PullDocument, answer)
        if cancel or not wait or asked.state == "done":
            _tell(asked, answer, model, cancelled=cancel, as_json=as_json)
            return
        pulled = asked
        try:
            with reporting(silent=as_json) as report:
                for pulled, said in _looks(client, body, asked, answer):
                    if not _is_over(pulled):
                        report("; ".join(_line(each) for each in pulled.workers))
                    if as_json:
                        say_json_line(said)
        except KeyboardInterrupt:
            complain(f"the pull of {asked.source} goes on: `sllm pull {model} --cancel` ends it")
            raise
    _conclude(pulled, there=False, silent=as_json)


def _body(
    model: str, backend: str | None, source: str | None, workers: tuple[str, ...], *, everywhere: bool
) -> dict[str, Any]:
    scalars = {"model": model, "backend": backend, "source": source}
    body = document.build(
        {}, folder=Path.cwd(), scalars=scalars, auto_scaling={}, endpoints=(), engine_args=()
    )
    document.require_model(body)
    if workers or everywhere:
        body["workers"] = "all" if everywhere else list(workers)
    return body


def _looks(
    client: GatewayClient, body: dict[str, Any], asked: PullDocument, first: Any
) -> Iterator[tuple[PullDocument, Any]]:
    """Look how far a pull is, again and again until it is over; yield what is new, also as it came.

    A worker that was started anew has forgotten the pull, and gets it again.

    Raises:
        CommandFailure: The gateway, or a worker, was away for longer than ``PATIENCE_SECONDS``.
    """
    # Exactly those: without names, other workers may be chosen now.
    nodes = [each.node for each in asked.workers]
    again = {**body, "source": asked.source, "backend": asked.backend, "workers": nodes}
    path, patience, seen = path_of("models/pull", asked.id), PatientPoll(), time.monotonic()
    pulled, said = asked, first
    yield pulled, said
    while not _is_over(pulled):
        time.sleep(progress.POLL_SECONDS)
        if any(each.state in _LOST for each in pulled.workers):
            answer = patience.ask(lambda: client.request("POST", "/models/pull", body=again))
        else:
            answer = patience.ask(lambda: client.request("GET", path))
        if answer is not None and answer != said:
            pulled, said = read(PullDocument, answer), answer
            yield pulled, said
        away = next((each for each in pulled.workers if each.state == "away"), None)
        seen = time.monotonic() if away is None else seen
        if away is not None and time.monotonic() - seen > progress.PATIENCE_SECONDS:
            raise CommandFailure(away.reason or f"{away.name} does not answer")


def _is_over(pulled: PullDocument) -> bool:
    return all(each.state in ("done", "failed", "cancelled") for each in pulled.workers)


def _line(worker: PulledDocument) -> str:
    match worker.state:
        case "pulling" | "queued":
            return f"{worker.name}: {worker.progress or worker.state}"
        case "done":
            return f"{worker.name}: all {shown_bytes(worker.total)} there"
        case _:
            return f"{worker.name}: {worker.reason or worker.state}"


def _tell(asked: PullDocument, answer: Any, model: str, *, cancelled: bool, as_json: bool) -> None:
    """Say what a request has done that nobody waits for."""
    if as_json:
        say_json_line(answer)
    elif cancelled:
        ended = [each.name for each in asked.workers if each.state == "cancelled"]
        where = f" on {', '.join(ended)}" if ended else ""
        say(f"{'Cancelled' if ended else 'Not pulled now'}: {asked.source}{where}")
    elif asked.state == "done":
        _conclude(asked, there=True, silent=False)
    else:
        where = ", ".join(each.name for each in asked.workers)
        say(f"Pulling: {asked.source} on {where} (`sllm pull {model}` shows how far it is)")
    failed = [each for each in asked.workers if each.state in ("failed", "away")]
    if failed and not cancelled:
        raise CommandFailure(_reasons(failed))


def _conclude(pulled: PullDocument, *, there: bool, silent: bool) -> None:
    """Say how a pull has ended.

    Raises:
        CommandFailure: Some worker does not have the files.
    """
    lacking = [each for each in pulled.workers if each.state != "done"]
    if lacking:
        raise CommandFailure(_reasons(lacking))
    if not silent:
        where = ", ".join(each.name for each in pulled.workers)
        size = shown_bytes(max((each.total for each in pulled.workers), default=0))
        say(f"{'There already' if there else 'Pulled'}: {pulled.source} ({size}) on {where}")


def _reasons(workers: list[PulledDocument]) -> str:
    """Return why workers do not have the files, as one sentence; a reason that several have is told once."""
    by_reason: dict[str, list[str]] = {}
    for each in workers:
        reason = each.reason or ("the pull was cancelled" if each.state == "cancelled" else each.state)
        by_reason.setdefault(reason, []).append(each.name)
    if len(workers) == 1:
        return f"{workers[0].name}: {next(iter(by_reason))}"
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
