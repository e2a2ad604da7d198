"""``sllm run``: chat with a model, and deploy it first if it is not deployed."""

from __future__ import annotations

from pathlib import Path

import click

from sllm_actors.cli import completing, document
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.dialogue import Dialogue, dialogue_options, sendable
from sllm_actors.cli.listing import fetch_deployments
from sllm_actors.cli.lookup import find_deployment, is_deployed
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.options.common import source_option, timeout_option
from sllm_actors.cli.parameters import NAME, WholeRange
from sllm_actors.cli.progress import reporting, wait_until_ready
from sllm_actors.cli.terminal import complain

from .deploy import outcome, submit


@click.command(
    cls=ManualCommand,
    short_help="Chat with a model, and deploy it first if need be.",
    examples=[
        ("Answer one question", "sllm run demo:smollm2-135m --backend llamacpp 'What is gravity?'"),
        (
            "Deploy a file that is on the worker, and chat",
            "sllm run my-model --backend llamacpp --source /models/my-model.gguf",
        ),
    ],
)
@click.argument("model", type=NAME, shell_complete=completing.models)
@click.argument("prompt", nargs=-1)
@click.option(
    "--backend",
    type=NAME,
    shell_complete=completing.backends,
    show_default="vllm",
    help="The engine: llamacpp, sglang, …; see sllm deploy.",
)
@source_option("MODEL")
@click.option(
    "--num-gpus",
    type=WholeRange(min=0),
    metavar="N",
    show_default="1 for vllm and sglang where there are GPUs, else 0",
    help="GPUs per replica.",
)
@click.option(
    "--gpu-memory",
    metavar="SIZE|auto",
    show_default="whole GPUs",
    help="Memory of each GPU that a replica takes, so that several share it; auto: as estimated.",
)
@timeout_option(1800.0, "How long to wait until it is ready.")
@dialogue_options
def run(
    *,
    model: str,
    prompt: tuple[str, ...],
    backend: str | None,
    source: str | None,
    num_gpus: int | None,
    gpu_memory: str | None,
    timeout: float,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
) -> None:
    """Deploy MODEL if it is not deployed yet, wait until it is ready, and chat with it.

    With PROMPT it answers that and ends; only the answer goes to standard output. The deployment stays until
    sllm rm takes it away.
    """
    scalars = {
        "model": model,
        "backend": backend,
        "source": source,
        "num_gpus": num_gpus,
        "gpu_memory": gpu_memory,
    }
    body = document.build(
        {}, folder=Path.cwd(), scalars=scalars, auto_scaling={}, endpoints=(), engine_args=()
    )
    document.require_model(body)
    settings = {"max_tokens": max_tokens, "temperature": temperature}
    with GatewayClient() as client:
        known = {name: fetch_deployments(client, name) for name in (model, body["model"])}
        names = [name for name, found in known.items() if is_deployed(found, name, backend)]
        if names:
            found = find_deployment(known[names[0]], names[0], backend)
            deployment_id, revision = found.id, found.revision
        else:
            typed = document.options_as_typed(scalars, {}, (), ())
            _, deployed = submit(client, "POST", "/deployments", body, typed)
            complain(outcome(deployed))
            deployment_id, revision = deployed.deployment_id, deployed.revision
        with reporting(err=True) as report:
            wait_until_ready(client, deployment_id, revision=revision, timeout=timeout, report=report)
        dialogue = Dialogue(client, deployment_id, system=system, settings=settings)
        if prompt:
            dialogue.ask(sendable(" ".join(prompt)))
        else:
            dialogue.talk()
