"""``sllm update``: change settings of a deployment, and pause or resume the rollout of a new revision."""

from __future__ import annotations

from typing import Any

import click

from sllm_actors.cli import completing
from sllm_actors.cli.answers.deployments import DeploymentDocument
from sllm_actors.cli.answers.reading import read
from sllm_actors.cli.client import GatewayClient, path_of
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.deployment import (
    DeploymentOptions,
    allow_downtime_option,
    deployment_options,
    waiting_options,
)
from sllm_actors.cli.parameters import NAME

from .deploy import follow, outcome, submit
from .status import fetch_deployment


@click.command(
    cls=ManualCommand,
    short_help="Change settings of a deployment.",
    examples=[
        ("Run more replicas of a model", "sllm update qwen --max-instances 4"),
        (
            "Roll out another setting of the engine, and wait until that is done",
            "sllm update qwen --engine-arg max-model-len=8192 --wait",
        ),
        (
            "Go on with a rollout that was paused for want of room",
            "sllm update qwen --resume --allow-downtime",
        ),
    ],
)
@click.argument("name", type=NAME, shell_complete=completing.models, metavar="ID")
@deployment_options(changing=True)
@allow_downtime_option
@click.option("--pause", is_flag=True, help="Stop the rollout under way where it is.")
@click.option("--resume", is_flag=True, help="Go on with a rollout that is paused.")
@waiting_options
def update(
    *,
    name: str,
    allow_downtime: bool,
    pause: bool,
    resume: bool,
    wait: bool,
    timeout: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Change settings of the deployment ID, or of the model of that name; what is not given stays as it is.

    Counts, limits and timeouts change at once. Other settings make a new revision, which is rolled out beside
    the old one: an old replica stops when a new one is ready. With --wait the exit status is 0 when that is
    done, and 1 if it was paused or rolled back.
    """
    options = DeploymentOptions(**given)
    patch = options.document()
    if sum((bool(patch), pause, resume)) != 1:
        raise click.UsageError("give what to change, or --pause, or --resume")
    if pause and (wait or allow_downtime):
        raise click.UsageError("--pause goes with neither --wait nor --allow-downtime")
    query = {"allow_downtime": allow_downtime}
    with GatewayClient() as client:
        path = path_of("deployments", read(DeploymentDocument, fetch_deployment(client, name)).id)
        if patch:
            answer, changed = submit(client, "PATCH", path, patch, options.as_typed(), query)
            told = (
                outcome(changed) if changed.changed else f"{changed.deployment_id} has these settings already"
            )
        else:
            verb = "pause" if pause else "resume"
            answer, changed = submit(client, "POST", f"{path}/{verb}", None, {}, query)
            told = f"Rollout {verb}d: {changed.deployment_id} (revision {changed.revision})"
        follow(client, answer, changed, told, wait=wait, timeout=timeout, as_json=as_json)
