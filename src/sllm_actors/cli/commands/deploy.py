"""``sllm deploy``: deploy a model, and with ``--wait`` wait until it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sllm_actors.cli import completing, document
from sllm_actors.cli.answers.deployments import Deployed
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.errors import RequestRefused
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.deployment import (
    DeploymentOptions,
    allow_downtime_option,
    deployment_options,
    waiting_options,
)
from sllm_actors.cli.progress import reporting, wait_until_ready
from sllm_actors.cli.terminal import complain, say, say_json
from sllm_actors.serving.deployment.changes import shown_keys


@click.command(
    cls=ManualCommand,
    short_help="Deploy a model.",
    examples=[
        (
            "Deploy a model of the hub on a GPU, and wait until it is ready",
            "sllm deploy qwen --source hf:Qwen/Qwen3-8B --num-gpus 1 --wait",
        ),
        (
            "Start it with the first request, and stop it after ten idle minutes",
            "sllm deploy qwen --source hf:Qwen/Qwen3-8B \\\n  --min-instances 0 --keep-alive 600",
        ),
        (
            "Deploy what a file says, with another setting of the engine",
            "sllm deploy --config qwen.toml --engine-arg max-model-len=8192",
        ),
        (
            "Serve by servers that somebody else runs",
            "sllm deploy theirs --backend external --endpoint http://10.0.0.7:8000",
        ),
    ],
)
@click.argument("name", required=False, metavar="[MODEL]")
@click.option(
    "--model",
    metavar="M",
    show_default="MODEL",
    help="The name that clients call it by: a hub id or a path, unless --source says more.",
)
@click.option(
    "--backend",
    shell_complete=completing.backends,
    show_default="vllm",
    help="The engine: vllm, llamacpp, sglang, command or external.",
)
@deployment_options(changing=False)
@click.option("--update", is_flag=True, help="Update what is deployed already to exactly these settings.")
@allow_downtime_option
@waiting_options
def deploy(
    *,
    name: str | None,
    model: str | None,
    backend: str | None,
    update: bool,
    allow_downtime: bool,
    wait: bool,
    timeout: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Deploy MODEL (or --model M). What is deployed already with the same settings is left as it is.

    Without --wait the command ends when the deployment is recorded; a request that comes before it is ready
    waits in the gateway. With --wait it ends when the model is ready (exit status 0) or has failed (1).
    """
    options = DeploymentOptions(**given)
    if name is not None and model is not None:
        raise click.UsageError("name the model once: as MODEL, or with --model")
    if allow_downtime and not update:
        raise click.UsageError("--allow-downtime is for an update: give --update too")
    model = model if name is None else name
    if model is None and options.config is None:
        raise click.UsageError("name a model, as in sllm deploy MODEL, or a deployment file with --config")
    identity = {"model": model, "backend": backend}
    body = options.document(**identity)
    document.require_model(body)
    typed = options.as_typed(**identity)
    params = {"update": update, "allow_downtime": allow_downtime}
    with GatewayClient() as client:
        answer, deployed = submit(client, "POST", "/deployments", body, typed, params)
        told = outcome(deployed)
        follow(client, answer, deployed, told, wait=wait, timeout=timeout, as_json=as_json)


def submit(
    client: GatewayClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    typed: Mapping[str, str],
    params: Mapping[str, bool] | None = None,
) -> tuple[Any, Deployed]:
    """Send a deployment or a patch, print the warnings to standard error, and return the answer.

    Args:
        client: The client of the gateway.
        method: The HTTP method.
        path: The path; see ``path_of``.
        body: The deployment document, or the patch for it; None for no body.
        typed: See ``document.options_as_typed``.
        params: What is to be true in the query, by name.

    Returns:
        The answer as it came, and as an object.

    Raises:
        CommandFailure: It was refused, with the options named as they were typed; or no gateway answered.
    """
    query = {name: "true" for name, given in (params or {}).items() if given}
    try:
        answer = client.request(method, path, body=body, params=query)
    except RequestRefused as refused:
        raise refused.naming(typed) from None
    deployed = read(Deployed, answer)
    for warning in deployed.warnings:
        complain(f"warning: {warning}")
    return answer, deployed


def follow(
    client: GatewayClient,
    answer: Any,
    deployed: Deployed,
    told: str,
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Print what became of a deployment, and with ``wait`` return only when its revision is ready.

    Args:
        client: The client of the gateway.
        answer: The gateway's answer as it came, for ``as_json``.
        deployed: The answer as an object.
        told: The answer as a sentence for a person.
        wait: Whether to wait.
        timeout: For how many seconds.
        as_json: Whether to print the answer as JSON, and nothing else.

    Raises:
        CommandFailure: See ``wait_until_ready``.
    """
    name = deployed.deployment_id
    if not as_json:
        say(told)
    if wait:
        with reporting(silent=as_json) as report:
            wait_until_ready(client, name, revision=deployed.revision, timeout=timeout, report=report)
    if as_json:
        say_json(answer)
    elif wait:
        say(f"Ready: {name}")


def outcome(deployed: Deployed) -> str:
    """Return a sentence that says whether a deployment was created or updated, or was there already."""
    if deployed.changed:
        return f"Deployment updated: {deployed.deployment_id} ({shown_keys(deployed.changed)})"
    return f"Deployment {'created' if deployed.created else 'there already'}: {deployed.deployment_id}"
