"""``sllm load``, ``unload``, ``sleep`` and ``wake``: what is in memory, by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.deployments import DeploymentDocument, LoadingDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.errors import CommandFailure
from sllm_actors.cli.listing import fetch_deployments
from sllm_actors.cli.lookup import find_deployment
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import json_option, timeout_option
from sllm_actors.cli.parameters import NAME, WholeRange
from sllm_actors.cli.progress import is_settled, reporting, wait_until
from sllm_actors.cli.terminal import say, say_json

Command = TypeVar("Command", bound=Callable[..., Any])
Reached = Callable[[DeploymentDocument], bool]

_OPTIONS = (
    click.argument("model", type=NAME, shell_complete=completing.models),
    click.option(
        "--backend",
        type=NAME,
        shell_complete=completing.backends,
        show_default="the only one",
        help="Which deployment of the model, where there are several.",
    ),
    click.option("--wait/--no-wait", default=False, help="Wait until it is so."),
    timeout_option(600.0),
    json_option,
)


def _options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    cls=ManualCommand,
    short_help="Have a replica ready, though no request waits.",
    examples=[
        ("Load a model before somebody asks for it", "sllm load qwen --wait"),
    ],
)
@_options
def load(**given: Any) -> None:
    """Have a replica of MODEL ready, though no request waits for it.

    It is kept as if its last request had ended when it was ready (keep_alive), so it may be idle again soon.
    """

    def reached(deployment: DeploymentDocument) -> bool:
        return is_settled(deployment) and deployment.state != "asleep"

    _ask("load", "loaded", lambda _: reached, **given)


@click.command(
    cls=ManualCommand,
    short_help="Stop all replicas until the next request.",
    examples=[
        ("Make room for another model at once", "sllm unload big --wait && sllm load small --wait"),
        ("Stop it although it has requests, when they have ended", "sllm unload qwen --force"),
    ],
)
@click.option("--force", is_flag=True, help="Also if it has requests: they end first.")
@_options
def unload(*, force: bool, **given: Any) -> None:
    """Stop all replicas of MODEL. It stays deployed: the next request loads it again.

    A deployment that has requests, or a minimum of replicas, is not unloaded, and the reason is told.
    """

    def until_gone(before: DeploymentDocument) -> Reached:
        there = {_life_of(each.id) for each in before.instances}

        def reached(deployment: DeploymentDocument) -> bool:
            left = [each for each in deployment.instances if _life_of(each.id) in there]
            if deployment.desired_replicas and any(each.state == "ready" for each in left):
                raise CommandFailure(
                    f"{deployment.id} has requests again, and stays loaded: unload it with --force, or later"
                )
            return not left

        return reached

    _ask("unload", "unloaded", until_gone, params={"force": "true"} if force else None, **given)


@click.command(
    cls=ManualCommand,
    short_help="Put replicas to sleep, which frees GPU memory.",
    examples=[
        ("Free a GPU, but keep the weights in the machine's memory", "sllm sleep qwen --level 1"),
    ],
)
@click.option(
    "--level",
    type=WholeRange(0, 2),
    default=1,
    show_default=True,
    help="0 pauses, 1 moves the weights to the machine's memory, 2 drops them.",
)
@_options
def sleep(*, level: int, **given: Any) -> None:
    """Put the replicas of MODEL to sleep, which frees GPU memory. The next request wakes one.

    Not every engine can sleep, and one that has requests does not.
    """
    _ask("sleep", "asleep", lambda _: lambda found: found.state == "asleep", body={"level": level}, **given)


@click.command(
    cls=ManualCommand,
    short_help="Wake the replicas that are asleep.",
    examples=[
        ("Wake a model, and wait until it is ready", "sllm wake qwen --wait"),
    ],
)
@_options
def wake(**given: Any) -> None:
    """Wake the replicas of MODEL that are asleep."""
    _ask("wake", "awake", lambda _: lambda found: is_settled(found) and found.state == "ready", **given)


def _ask(
    verb: str,
    aim: str,
    reached: Callable[[DeploymentDocument], Reached],
    *,
    model: str,
    backend: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    body: Mapping[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
) -> None:
    """Ask for something, and say what happens; with ``wait`` return when it has happened.

    Args:
        verb: What is asked, as in the path.
        aim: What the deployment is afterwards, in a word.
        reached: Takes the deployment as it was before; returns what says whether it is so.
        model: What the person typed, as the other options are.
        backend: As typed.
        wait: As typed.
        timeout: As typed.
        as_json: As typed.
        body: The body of the request.
        params: Its query.
    """
    with GatewayClient() as client:
        before = find_deployment(fetch_deployments(client, model), model, backend)
        path = f"{path_of('deployments', before.id)}/{verb}"
        answer = client.request("POST", path, body=body, params=params)
        asked = read(LoadingDocument, answer)
        if not as_json:
            say(asked.message)
        if wait:
            with reporting(silent=as_json) as report:
                wait_until(client, before.id, reached(before), aim=aim, timeout=timeout, report=report)
        if as_json:
            say_json(answer)
        elif wait:
            say(f"{aim.capitalize()}: {before.id}")


def _life_of(instance: str) -> str:
    """Return an instance's id without how often it was started."""
    return instance.rpartition(".")[0]
