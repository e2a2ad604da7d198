"""The sglang backend: unmodified SGLang, on GPUs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from attrs import frozen

from sllm_actors.engines.attention import read_attention
from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.errors import LaunchProblem, SettingsProblem
from sllm_actors.engines.gpu_figures import GpuFigures, gpu_figures
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.installs.interpreters import find_installed
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.models.checkpoint import Checkpoint, read_checkpoint

from .backend import Launch
from .extra_args import check_extra_args
from .port import PrivatePort, choose_port
from .settings import flag, number, read_settings, text, whole, words
from .work_metrics import WorkMetrics

WORK = WorkMetrics(
    running=("sglang:num_running_reqs",),
    counters=("sglang:prompt_tokens_total", "sglang:generation_tokens_total"),
    waiting=("sglang:num_queue_reqs",),
    kv=("sglang:token_usage",),
)

SECRETS = "secrets.yaml"
"""The configuration file in the engine's TMPDIR that holds its key."""

_OURS = {
    "model-path": "it is the deployment's source",
    "model": "it is the deployment's source",
    "served-model-name": "it is the deployment's model",
    "host": "the engine listens where only its worker reaches it",
    "port": "the engine listens where only its worker reaches it",
    "api-key": "the worker makes one for each engine",
    "nnodes": "an engine runs on one machine",
    "node-rank": "an engine runs on one machine",
    "dist-init-addr": "an engine runs on one machine",
    "config": "give its keys as settings",
    "tensor-parallel-size": "give the setting tensor_parallel_size",
    "tp-size": "give the setting tensor_parallel_size",
    "pipeline-parallel-size": "an engine spreads each layer over all of its GPUs",
    "pp-size": "an engine spreads each layer over all of its GPUs",
}


@frozen
class SglangSettings:
    """Settings of the sglang backend. What is not given is SGLang's own choice.

    Attributes:
        tensor_parallel_size: GPUs that each layer is spread over; by default all that the replica gets.
        max_model_len: Tokens that one request may use, prompt and answer together.
        gpu_memory_utilization: The part of each GPU's memory that weights and cache take: above 0, up to 1.
        dtype: The data type of weights and activations.
        quantization: How the weights are quantized, if their configuration does not say.
        max_num_seqs: The most requests that are worked on at the same time.
        trust_remote_code: Run Python code that the model's folder contains.
        is_embedding: Serve ``/v1/embeddings`` instead of text.
        extra_args: Further arguments of ``sglang.launch_server``.
    """

    tensor_parallel_size: int | None = whole(None, most=1024)
    max_model_len: int | None = whole(None)
    gpu_memory_utilization: float | None = number(None, above=0.0, most=1.0)
    dtype: str = text("")
    quantization: str = text("")
    max_num_seqs: int | None = whole(None)
    trust_remote_code: bool = flag(default=False)
    is_embedding: bool = flag(default=False)
    extra_args: tuple[str, ...] = words()

    def arguments(self, num_gpus: int) -> Iterator[str]:
        """Yield the engine's arguments.

        Raises:
            SettingsProblem: ``tensor_parallel_size`` is not the number of GPUs.
        """
        ranks = self.tensor_parallel_size or num_gpus
        if ranks != num_gpus:
            raise SettingsProblem(
                f"tensor_parallel_size is {ranks} and num_gpus {num_gpus}: an engine uses all of its GPUs"
            )
        plain = {
            "tp-size": ranks,
            "context-length": self.max_model_len,
            "mem-fraction-static": self.gpu_memory_utilization,
            "dtype": self.dtype,
            "quantization": self.quantization,
            "max-running-requests": self.max_num_seqs,
        }
        for name, value in plain.items():
            if value not in (None, ""):
                yield f"--{name}={value}"
        if self.trust_remote_code:
            yield "--trust-remote-code"
        if self.is_embedding:
            yield "--is-embedding"
        yield "--enable-metrics"
        yield from self.extra_args


class Sglang:
    """The sglang backend. See ``Backend``."""

    name = "sglang"

    def inspect(
        self, source: str, settings: Mapping[str, object], python: str, num_gpus: int
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        found = read_sglang_settings(settings)
        check_installed(python)
        check_gpus(num_gpus)
        model = read_checkpoint(source)
        return SourceInspected(size=model.size, gpu_figures=figures_of(model, found, num_gpus))

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """See ``Backend.launch``."""
        settings = read_sglang_settings(order.settings)
        python = host.interpreters.of(self.name)
        check_installed(python)
        check_gpus(order.num_gpus)
        return plan(order, read_checkpoint(order.source), settings, host, paths, choose_port())


def plan(
    order: ReplicaOrder,
    model: Checkpoint,
    settings: SglangSettings,
    host: EngineHost,
    paths: EnginePaths,
    port: PrivatePort,
) -> Launch:
    """Decide how to start an SGLang; pure.

    Args:
        order: What to serve.
        model: What the model's folder contains.
        settings: The order's settings.
        host: What the worker's engines share.
        paths: The paths of this engine life.
        port: Where the engine listens.

    Raises:
        SettingsProblem: The settings do not agree with the number of GPUs.
    """
    argv = (
        host.interpreters.of(Sglang.name),
        "-m",
        "sglang.launch_server",
        f"--model-path={model.folder}",
        f"--served-model-name={order.model}",
        "--host=127.0.0.1",
        f"--port={port.number}",
        "--config",
        str(paths.tmpdir / SECRETS),
        *settings.arguments(order.num_gpus),
    )
    env = engine_environment(host.policy.environment, paths, HF_HUB_OFFLINE="1")
    secrets = {SECRETS: json.dumps({"api-key": port.key})}  # everybody can read a command line
    launch = LaunchPlan(argv=argv, env=env, paths=paths, files=secrets, stop_budget=host.policy.stop_budget)
    return Launch(
        port.address,
        ("/health",),
        launch,
        work=WORK,
        key=port.key,
        weights=model.folder,
        concurrency=settings.max_num_seqs or 0,
        context_length=settings.max_model_len or 0,
        gpu_figures=figures_of(model, settings, order.num_gpus),
        share_option="" if settings.gpu_memory_utilization else "--mem-fraction-static",
        share_of_free=True,
    )


def figures_of(model: Checkpoint, settings: SglangSettings, num_gpus: int) -> GpuFigures | None:
    """Return what a model takes of each GPU; None without one."""
    return gpu_figures(
        model.size,
        read_attention(model.configuration),
        gpus=num_gpus,
        context=settings.max_model_len,
        dtype=settings.dtype,
    )


def read_sglang_settings(settings: Mapping[str, object]) -> SglangSettings:
    """Read the settings of a deployment, by name.

    Raises:
        SettingsProblem: One is unknown or not allowed, or is for the worker to decide.
    """
    found = read_settings(SglangSettings, settings, Sglang.name)
    check_extra_args(found.extra_args, ours=_OURS, settings=(), given=())
    return found


def check_gpus(num_gpus: int) -> None:
    """Check that a replica has a GPU.

    Raises:
        LaunchProblem: It has none.
    """
    if not num_gpus:
        raise LaunchProblem("SGLang needs a GPU: deploy with --num-gpus 1, or with --backend llamacpp")


def check_installed(python: str) -> None:
    """Check that SGLang is installed for an interpreter.

    Raises:
        LaunchProblem: It is not, or the interpreter cannot be asked.
    """
    if find_installed(python, Sglang.name) is None:
        raise LaunchProblem(
            f"SGLang is not installed for {python}: install it there (pip install sglang), or name a Python"
            " that has it with --engine-python sglang=PATH"
        )
