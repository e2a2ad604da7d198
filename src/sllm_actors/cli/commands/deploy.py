"""``sllm deploy``: deploy a model, and with ``--wait`` wait until it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sllm_actors.cli import document
from sllm_actors.cli.answers import Deployed, read
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.errors import RequestRefused
from sllm_actors.cli.parameters import KEY_VALUE, FiniteRange, each_key_once
from sllm_actors.cli.progress import reporting, wait_until_ready
from sllm_actors.cli.terminal import complain, say, say_json


@click.command()
@click.argument("name", required=False, metavar="[MODEL]")
@click.option(
    "--model",
    metavar="M",
    help="The name that clients call it by: a hub id or a path, unless --source says more.",
)
@click.option("--backend", help="vllm (the default), llamacpp, sglang, command or external.")
@click.option("--source", metavar="hf:ID|PATH|demo:NAME", help="Where the model's files are, if not at M.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A deployment file, .json or .toml, or - for standard input; options win over it.",
)
@click.option("--num-gpus", type=click.IntRange(min=0), help="GPUs per replica.")
@click.option("--target", type=click.IntRange(min=1), help="Requests at a time that one replica should have.")
@click.option(
    "--min-instances",
    type=click.IntRange(min=0),
    help="Fewest replicas; today so many run, and at least one.",
)
@click.option("--max-instances", type=click.IntRange(min=1), help="Most replicas.")
@click.option(
    "--keep-alive",
    type=FiniteRange(min=-1),
    metavar="SECONDS",
    help="How long an idle replica is kept; -1: until its room is needed.",
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="URL", help="Address of an external server; repeatable."
)
@click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="K=V",
    help="Setting of the engine, or with a dash (--engine-arg=--FLAG) an argument for it; repeatable.",
)
@click.option(
    "--env",
    type=KEY_VALUE,
    multiple=True,
    callback=each_key_once,
    metavar="K=V",
    help="Variable of the engine's environment; repeatable.",
)
@click.option(
    "--secret-env",
    type=KEY_VALUE,
    multiple=True,
    callback=each_key_once,
    metavar="K=env:NAME|file:PATH",
    help="A variable whose value is read from a variable or file of the worker; repeatable.",
)
@click.option("--wait/--no-wait", default=False, help="Wait until it is ready, and show how far it is.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait waits.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
def deploy(
    *,
    name: str | None,
    model: str | None,
    backend: str | None,
    source: str | None,
    config: Path | None,
    num_gpus: int | None,
    target: int | None,
    min_instances: int | None,
    max_instances: int | None,
    keep_alive: float | None,
    endpoints: tuple[str, ...],
    engine_args: tuple[str, ...],
    env: tuple[tuple[str, str], ...],
    secret_env: tuple[tuple[str, str], ...],
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Deploy MODEL (or --model M). What is deployed already with the same settings is left as it is.

    Without --wait the command ends when the deployment is recorded; a request that comes before it is ready
    waits in the gateway. With --wait it ends when the model is ready (exit status 0) or has failed (1).
    """
    if name is not None and model is not None:
        raise click.UsageError("name the model once: as MODEL, or with --model")
    model = model if name is None else name
    if model is None and config is None:
        raise click.UsageError("name a model, as in sllm deploy MODEL, or a deployment file with --config")
    if keep_alive is not None and keep_alive.is_integer():
        keep_alive = int(keep_alive)
    scalars = {"model": model, "backend": backend, "source": source, "num_gpus": num_gpus}
    auto_scaling = {
        "target": target,
        "min_instances": min_instances,
        "max_instances": max_instances,
        "keep_alive": keep_alive,
    }
    variables = {"env": dict(env), "secret_env": dict(secret_env)}
    body = document.build(
        document.load(config) if config else {},
        folder=Path.cwd(),
        scalars=scalars,
        auto_scaling=auto_scaling,
        endpoints=endpoints,
        engine_args=engine_args,
        variables=variables,
    )
    typed = document.options_as_typed(scalars, auto_scaling, endpoints, engine_args, variables)
    with GatewayClient() as client:
        answer, deployed = submit(client, body, typed)
        if not as_json:
            say(outcome(deployed))
        if wait:
            with reporting(silent=as_json) as report:
                wait_until_ready(
                    client, deployed.deployment_id, revision=deployed.revision, timeout=timeout, report=report
                )
    if as_json:
        say_json(answer)
    elif wait:
        say(f"Ready: {deployed.deployment_id}")


def submit(client: GatewayClient, body: Mapping[str, Any], typed: Mapping[str, str]) -> tuple[Any, Deployed]:
    """Deploy, print the warnings to standard error, and return the answer, as it came and as an object.

    Args:
        client: The client of the gateway.
        body: The deployment document.
        typed: See ``document.options_as_typed``.

    Raises:
        CommandFailure: The deployment was refused, with the options named as they were typed; or no gateway
            answered.
    """
    try:
        answer = client.request("POST", "/deployments", body=body)
    except RequestRefused as refused:
        raise refused.naming(typed) from None
    deployed = read(Deployed, answer)
    for warning in deployed.warnings:
        complain(f"warning: {warning}")
    return answer, deployed


def outcome(deployed: Deployed) -> str:
    """Return a sentence that says whether a deployment was created or was there already."""
    return f"Deployment {'created' if deployed.created else 'there already'}: {deployed.deployment_id}"
