"""The settings of a vllm deployment, and the arguments that they become."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import attrs
from attrs import frozen

from sllm_actors.engines.errors import SettingsProblem

from .extra_args import check_extra_args
from .settings import flag, number, read_settings, table, text, whole, words

_DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")

_TASKS = {
    "auto": (),
    "generate": ("--runner=generate",),
    "embed": ("--runner=pooling", "--convert=embed"),
    "classify": ("--runner=pooling", "--convert=classify"),
    "score": ("--runner=pooling", "--convert=classify"),
    "reward": ("--runner=pooling",),
}

_OURS = {
    "model": "it is the deployment's source",
    "model-tag": "it is the deployment's source",
    "served-model-name": "it is the deployment's model",
    "host": "the engine listens where only its worker reaches it",
    "port": "the engine listens where only its worker reaches it",
    "uds": "the engine listens where only its worker reaches it",
    "api-key": "the gateway asks for keys",
    "root-path": "the gateway knows the engine's paths",
    "ssl-keyfile": "the engine listens where only its worker reaches it",
    "ssl-certfile": "the engine listens where only its worker reaches it",
    "config": "give its keys as settings",
    "headless": "the engine has to answer requests",
    "grpc": "the gateway speaks HTTP",
    "grpc-port": "the gateway speaks HTTP",
    "api-server-count": "an engine has one",
    "data-parallel-size": "give the deployment more instances",
    "device-ids": "the worker chooses the GPUs",
    "nnodes": "an engine runs on one machine",
    "node-rank": "an engine runs on one machine",
    "distributed-executor-backend": "the worker has to own every process of the engine",
    "uvicorn-log-level": "the worker reads the engine's log",
}
"""Arguments that the worker decides, so that ``extra_args`` cannot set them, and why."""

_SHORT = {
    "-dp": "data-parallel-size",
    "-n": "nnodes",
    "-r": "node-rank",
    "-asc": "api-server-count",
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-q": "quantization",
}


@frozen
class VllmSettings:
    """Settings of the vllm backend. What is not given is vLLM's own choice, unless said otherwise.

    Attributes:
        tensor_parallel_size: GPUs that each layer is spread over; by default all that the replica gets.
        pipeline_parallel_size: Groups of layers, one after the other; times ``tensor_parallel_size`` it is
            ``num_gpus``.
        max_model_len: Tokens that one request may use, prompt and answer together.
        gpu_memory_utilization: The part of each GPU's memory that the engine takes: above 0, up to 1.
        dtype: The data type of weights and activations; on a CPU by default what suits it: ``cpu_dtype``.
        quantization: How the weights are quantized, if their configuration does not say.
        load_format: How the weights are read.
        enable_sleep_mode: Let the engine be put to sleep, in which it frees its GPU memory. The default on a
            GPU; on a CPU vLLM cannot sleep.
        trust_remote_code: Run Python code that the model's folder contains.
        enable_prefix_caching: Keep the attention state of prompts, for others with the same beginning.
        enforce_eager: Compile nothing: the start is faster, and tokens are slower. The default on a CPU.
        max_num_seqs: The most requests that are worked on at the same time.
        max_num_batched_tokens: The most tokens of one step.
        enable_lora: Load adapters; ``lora_modules`` implies it.
        lora_modules: Absolute paths of adapters' folders, by the model name that they are served under.
        runner: ``generate`` or ``pooling`` (embeddings and the like).
        task: The older name of ``runner``: ``embed``, ``classify``, ``score``, ``reward``, ``generate``.
        seed: The seed of the engine's random numbers.
        cpu_kv_cache_gib: GiB of memory for the attention state, on a CPU.
        cpu_threads: How many threads compute, on a CPU; the engine then gets as many cores of its own. By
            default half as many as there are cores; see ``machine.cores`` for which they run on.
        extra_args: More arguments of ``vllm serve``; they go last.
    """

    tensor_parallel_size: int | None = whole(None, most=1024)
    pipeline_parallel_size: int = whole(1, most=1024)
    max_model_len: int | None = whole(None)
    gpu_memory_utilization: float | None = number(None, above=0, most=1)
    dtype: str = text("", *_DTYPES)
    quantization: str = text("")
    load_format: str = text("")
    trust_remote_code: bool = flag(default=False)
    enable_prefix_caching: bool | None = flag(default=None)
    enforce_eager: bool | None = flag(default=None)
    enable_sleep_mode: bool | None = flag(default=None)
    max_num_seqs: int | None = whole(None)
    max_num_batched_tokens: int | None = whole(None)
    enable_lora: bool | None = flag(default=None)
    lora_modules: dict[str, str] = table()  # noqa: RUF009 - an attrs field
    runner: str = text("", "auto", "generate", "pooling")
    task: str = text("", *_TASKS)
    seed: int | None = whole(None, least=0, most=2**32 - 1)
    cpu_kv_cache_gib: int = whole(2, most=65536)
    cpu_threads: int | None = whole(None, most=4096)
    extra_args: tuple[str, ...] = words()

    def spread(self, num_gpus: int) -> int:
        """Return the tensor parallel size for ``num_gpus`` GPUs, where 0 means a CPU.

        Raises:
            SettingsProblem: The two sizes and the number of GPUs do not agree.
        """
        stages = self.pipeline_parallel_size
        ranks = self.tensor_parallel_size or max(1, num_gpus // stages)
        if self.tensor_parallel_size is None and num_gpus % stages:
            raise SettingsProblem(f"pipeline_parallel_size {stages} does not divide num_gpus {num_gpus}")
        if ranks * stages != max(1, num_gpus):
            product = f"tensor_parallel_size {ranks} times pipeline_parallel_size {stages}"
            raise SettingsProblem(
                f"{product} is {ranks * stages}, but num_gpus is {num_gpus}: make them agree"
            )
        return ranks

    def sleeps(self, num_gpus: int) -> bool:
        """Return whether the engine can be put to sleep.

        Raises:
            SettingsProblem: It is asked for, and there is no GPU.
        """
        if self.enable_sleep_mode and not num_gpus:
            raise SettingsProblem("enable_sleep_mode needs a GPU: vLLM cannot sleep on a CPU")
        return num_gpus > 0 and self.enable_sleep_mode is not False

    def arguments(self, num_gpus: int, cpu_dtype: str) -> Iterator[str]:
        """Yield the engine's arguments. They have the form ``--name=value``, so no value is taken for a name.

        Args:
            num_gpus: How many GPUs the engine gets; 0 means a CPU.
            cpu_dtype: The ``dtype`` on a CPU where none is set.

        Raises:
            SettingsProblem: See ``spread`` and ``sleeps``.
        """
        on_cpu = num_gpus == 0
        ranks = self.spread(num_gpus)
        yield f"--tensor-parallel-size={ranks}"
        if self.pipeline_parallel_size > 1:
            yield f"--pipeline-parallel-size={self.pipeline_parallel_size}"
        plain = {
            "max-model-len": self.max_model_len,
            "gpu-memory-utilization": self.gpu_memory_utilization,
            "dtype": self.dtype or (cpu_dtype if on_cpu else ""),
            "quantization": self.quantization,
            "load-format": self.load_format,
            "max-num-seqs": self.max_num_seqs,
            "max-num-batched-tokens": self.max_num_batched_tokens,
            "seed": self.seed,
            "runner": self.runner,
        }
        for name, value in plain.items():
            if value not in (None, ""):
                yield f"--{name}={value}"
        switches = {
            "trust-remote-code": self.trust_remote_code or None,
            "enable-prefix-caching": self.enable_prefix_caching,
            "enforce-eager": (on_cpu or None) if self.enforce_eager is None else self.enforce_eager,
            "enable-sleep-mode": self.sleeps(num_gpus) or None,
            "enable-lora": bool(self.lora_modules) or self.enable_lora,
        }
        for name, on in switches.items():
            if on is not None:
                yield f"--{name}" if on else f"--no-{name}"
        if self.lora_modules:
            yield "--lora-modules"
            for name, path in self.lora_modules.items():
                yield json.dumps({"name": name, "path": path})
        yield from _TASKS.get(self.task, ())
        yield from self.extra_args


def read_vllm_settings(settings: Mapping[str, object]) -> VllmSettings:
    """Read the settings of a deployment, by name.

    Raises:
        SettingsProblem: One is unknown or not allowed, contradicts another, or is for the worker to decide.
    """
    found = read_settings(VllmSettings, settings, "vllm")
    if found.task and found.runner:
        raise SettingsProblem("task and runner say the same in two ways: keep runner")
    if found.lora_modules and found.enable_lora is False:
        raise SettingsProblem("enable_lora is false although there are lora_modules: drop one of them")
    for name, path in found.lora_modules.items():
        if not str(path).startswith("/"):
            raise SettingsProblem(
                f"lora_modules.{name} must be the absolute path of an adapter's folder, not {path!r:.100}"
            )
    given = {name for name, value in settings.items() if value is not None}
    check_extra_args(
        found.extra_args,
        ours=_OURS,
        settings={field.name for field in attrs.fields(VllmSettings)},
        given=given,
        short=_SHORT,
    )
    for name in ("quantization", "load_format"):
        if not re.fullmatch(r"[\w.-]*", getattr(found, name)):
            raise SettingsProblem(f"{name} must be a plain name, not {getattr(found, name)!r:.100}")
    return found
