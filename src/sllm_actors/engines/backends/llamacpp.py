"""The llamacpp backend: GGUF files on llama.cpp's own server, for machines without a GPU too."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.errors import LaunchProblem, SettingsProblem
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.models.gguf import read_gguf

from .backend import Launch
from .settings import flag, read_settings, table, text, whole
from .work_metrics import WorkMetrics

PROGRAM = Path(__file__).with_name("llamacpp_server.py")

WORK = WorkMetrics(
    running=("llamacpp:requests_processing",),
    counters=("llamacpp:n_decode_total", "llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total"),
    waiting=("llamacpp:requests_deferred",),
)

_OURS = ("model", "model_alias", "hostname", "hostnames", "port", "reuse_port", "api_keys", "api_prefix")

_MOST_TOKENS = 2**31 - 1

_SETTINGS = {
    "n_ctx": "n_ctx or max_model_len",
    "n_parallel": "n_parallel",
    "n_threads_http": "n_threads_http",
    "embedding": "embedding",
    "pooling_type": "pooling",
    "cpuparams.n_threads": "n_threads",
}
"""Parameters of llama.cpp that ``extra`` cannot set, since a setting does; by parameter."""

_FLAGS = {
    **dict.fromkeys(("-c", "--ctx-size"), "the setting n_ctx"),
    **dict.fromkeys(("-np", "--parallel"), "the setting n_parallel"),
    **dict.fromkeys(("-t", "--threads"), "the setting n_threads"),
    "--threads-http": "the setting n_threads_http",
    **dict.fromkeys(("--embedding", "--embeddings"), "the setting embedding"),
    "--pooling": "the setting pooling",
    **dict.fromkeys(("-ngl", "--gpu-layers", "--n-gpu-layers"), 'extra = {"n_gpu_layers": N}'),
    **dict.fromkeys(("-b", "--batch-size"), 'extra = {"n_batch": N}'),
    **dict.fromkeys(("-ub", "--ubatch-size"), 'extra = {"n_ubatch": N}'),
    **dict.fromkeys(("-n", "--predict", "--n-predict"), 'extra = {"n_predict": N}'),
    "--chat-template": 'extra = {"chat_template": "NAME"}',
    "--jinja": 'extra = {"use_jinja": true}',
    "--rope-freq-base": 'extra = {"rope_freq_base": X}',
    "--rope-freq-scale": 'extra = {"rope_freq_scale": X}',
    "--no-warmup": 'extra = {"warmup": false}',
}
"""What to give instead of the usual flags of llama.cpp's own program, by flag."""


@frozen
class LlamaCppSettings:
    """Settings of the llamacpp backend.

    Attributes:
        max_model_len: Tokens that one request may use, prompt and answer together.
        n_parallel: The most requests that are worked on at the same time (also ``max_num_seqs``).
        n_ctx: Tokens of all these requests together; instead of ``max_model_len``, not beside it.
        n_threads: How many threads compute, on a CPU; the engine then gets as many cores of its own. By
            default half as many as there are cores; see ``machine.cores`` for which they run on.
        n_threads_http: The most connections that are served at the same time. A request that waits for its
            turn holds one, and so does each stream; with none free, ``/health`` is not answered and a busy
            engine looks hung. An idle thread costs next to nothing.
        embedding: Serve ``/v1/embeddings`` as well; chat works either way.
        pooling: How an embedding is made from the vectors of the tokens.
        extra: Further attributes of ``xllamacpp.CommonParams``, by name.
    """

    max_model_len: int | None = whole(None)
    n_parallel: int = whole(4, most=256, alias="max_num_seqs")
    n_ctx: int | None = whole(None)
    n_threads: int | None = whole(None, most=4096)
    n_threads_http: int = whole(512, least=4, most=65536)
    embedding: bool = flag(default=True)
    pooling: str = text("mean", "mean", "cls", "last", "none")
    extra: dict[str, str | int | float] = table()  # noqa: RUF009 - an attrs field

    @property
    def context(self) -> int:
        """Tokens of all requests together: the ``n_ctx`` of llama.cpp."""
        return self.n_ctx or (self.max_model_len or 2048) * self.n_parallel

    def parameters(self, threads: int, num_gpus: int) -> dict[str, object]:
        """Return the attributes of ``CommonParams`` to set, by name.

        Args:
            threads: How many threads compute on the CPU.
            num_gpus: How many GPUs the engine gets.
        """
        chosen: dict[str, object] = {
            "n_ctx": self.context,
            "n_parallel": self.n_parallel,
            "n_threads_http": self.n_threads_http,
            "endpoint_metrics": True,
            "embedding": self.embedding,
            # To find out what fits on GPUs, it loads the model once more: that doubles a start on a CPU.
            "fit_params": num_gpus > 0,
        }
        if self.embedding:
            chosen["pooling_type"] = self.pooling
        chosen["cpuparams.n_threads"] = threads
        return chosen | self.extra


class LlamaCpp:
    """The llamacpp backend. See ``Backend``."""

    name = "llamacpp"

    def inspect(
        self,
        source: str,
        settings: Mapping[str, object],
        python: str,
        num_gpus: int,  # noqa: ARG002
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        _read(settings)
        _check_installed(python)
        return SourceInspected(size=read_gguf(source).size)

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """See ``Backend.launch``."""
        settings = _read(order.settings)
        python = host.interpreters.of(self.name)
        _check_installed(python)
        return plan(order, read_gguf(order.source).file, settings, host, paths)


def plan(
    order: ReplicaOrder, model: Path, settings: LlamaCppSettings, host: EngineHost, paths: EnginePaths
) -> Launch:
    """Decide how to start a llama.cpp; pure."""
    threads = settings.n_threads or host.hardware.cores.share_of_two
    what = {
        "model": str(model),
        "alias": order.model,
        "socket": str(paths.socket),
        "parameters": settings.parameters(threads, order.num_gpus),
    }
    launch = LaunchPlan(
        argv=(host.interpreters.of(LlamaCpp.name), str(PROGRAM), json.dumps(what)),
        env=engine_environment(host.policy.environment, paths),
        paths=paths,
        stop_budget=host.policy.stop_budget,
        threads=0 if order.num_gpus else threads,
        own_cores=settings.n_threads is not None and order.num_gpus == 0,
    )
    return Launch(
        f"unix:{paths.socket}",
        ("/health",),
        launch,
        work=WORK,
        concurrency=settings.n_parallel,
        context_length=settings.context // settings.n_parallel,
    )


def _read(settings: Mapping[str, object]) -> LlamaCppSettings:
    if "extra_args" in settings:
        raise SettingsProblem(_instead_of(settings["extra_args"]))
    found = read_settings(LlamaCppSettings, settings, LlamaCpp.name)
    if found.context > _MOST_TOKENS:
        raise SettingsProblem(
            f"max_model_len times n_parallel is {found.context}: llama.cpp has {_MOST_TOKENS} tokens at most"
        )
    if found.n_ctx is not None and found.max_model_len is not None:
        raise SettingsProblem("n_ctx is max_model_len times n_parallel: give one of n_ctx and max_model_len")
    for name in found.extra:
        if name.partition(".")[0] in _OURS:
            raise SettingsProblem(f"extra.{name} cannot be set: the worker decides it")
        if name in _SETTINGS:
            raise SettingsProblem(f"extra.{name} cannot be set: give the setting {_SETTINGS[name]}")
    return found


def _instead_of(arguments: object) -> str:
    """Say what to give for flags of llama.cpp's command line, which is not what runs here."""
    words = arguments.split() if isinstance(arguments, str) else arguments
    names = [str(word).partition("=")[0] for word in words] if isinstance(words, list | tuple) else []
    known = [f"for {name} {_FLAGS[name]}" for name in names if name in _FLAGS]
    hints = ", ".join(known) or 'the settings of the llamacpp backend, and others as extra = {"n_batch": 512}'
    return f"extra_args cannot be set: llama.cpp runs here without its command line; give {hints}"


def _check_installed(python: str) -> None:
    """Check for xllamacpp, where that can be told without starting the other interpreter."""
    if python == sys.executable and importlib.util.find_spec("xllamacpp") is None:
        raise LaunchProblem('llama.cpp is not installed on this worker: pip install "sllm-actors[local]"')
