"""The vllm backend: unmodified vLLM, on GPUs or on a CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sllm_actors.engines.attention import read_attention
from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.gpu_figures import GpuFigures, gpu_figures
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.installs.images import how_to_get_vllm
from sllm_actors.engines.installs.interpreters import InstalledEngine, find_installed
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.models.checkpoint import Checkpoint, read_checkpoint

from .backend import Launch
from .sleep import VllmSleep
from .vllm_phases import phase_of
from .vllm_settings import VllmSettings, read_vllm_settings
from .work_metrics import WorkMetrics

OLDEST = (0, 32)
"""The oldest version that works: older ones do not start with a GPU's UUID in ``CUDA_VISIBLE_DEVICES``."""

PROGRAM = "vllm.entrypoints.openai.api_server"
WORK = WorkMetrics(
    running=("vllm:num_requests_running",),
    counters=("vllm:iteration_tokens_total_count", "vllm:generation_tokens_total"),
    waiting=("vllm:num_requests_waiting",),
    kv=("vllm:kv_cache_usage_perc",),
)

QUIET = "/health,/metrics,/ping,/load"
"""Paths that are left out of the engine's access log: the worker asks them all the time."""

CORE_DIED = frozenset({500, 503})
"""What ``/health`` answers when the core is dead. The server ends at the next request, or seconds later."""


class Vllm:
    """The vllm backend. See ``Backend``."""

    name = "vllm"

    def inspect(
        self, source: str, settings: Mapping[str, object], python: str, num_gpus: int
    ) -> SourceInspected:
        """See ``Backend.inspect``."""
        found = read_vllm_settings(settings)
        check_device(find_vllm(python), num_gpus)
        model = read_checkpoint(source)
        return SourceInspected(size=model.size, gpu_figures=figures_of(model, found, num_gpus))

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """See ``Backend.launch``."""
        settings = read_vllm_settings(order.settings)
        installed = find_vllm(host.interpreters.of(self.name))
        check_device(installed, order.num_gpus)
        return plan(order, read_checkpoint(order.source), settings, installed, host, paths)


def plan(
    order: ReplicaOrder,
    model: Checkpoint,
    settings: VllmSettings,
    installed: InstalledEngine,
    host: EngineHost,
    paths: EnginePaths,
) -> Launch:
    """Decide how to start a vLLM; pure.

    Args:
        order: What to serve.
        model: What the model's folder contains.
        settings: The order's settings.
        installed: The vLLM to run.
        host: What the worker's engines share.
        paths: The paths of this engine life.

    Raises:
        SettingsProblem: The settings do not agree with the number of GPUs.
    """
    # Kernels for quantized weights compute in 16 bits: float32 is not possible with them.
    cpu_dtype = "bfloat16" if settings.quantization or model.quantized else host.hardware.cpu_dtype
    argv = (
        installed.python,
        "-m",
        PROGRAM,
        f"--model={model.folder}",
        f"--served-model-name={order.model}",
        f"--uds={paths.socket}",
        f"--disable-access-log-for-endpoints={QUIET}",
        # The development mode, which has the routes to sleep, would log a traceback for each mistake of a
        # client; and a fork has the default of its server.
        *(["--no-log-error-stack"] if order.num_gpus else []),
        *settings.arguments(order.num_gpus, cpu_dtype),
    )
    env = engine_environment(host.policy.environment, paths, **environment(settings, order.num_gpus, host))
    tiers = VllmSleep() if settings.sleeps(order.num_gpus) else None
    launch = LaunchPlan(
        argv=argv,
        env=env,
        paths=paths,
        stop_budget=host.policy.stop_budget,
        threads=0 if order.num_gpus else settings.cpu_threads or host.hardware.cores.share_of_two,
        own_cores=settings.cpu_threads is not None and order.num_gpus == 0,
    )
    weights = None if settings.load_format == "dummy" else model.folder
    return Launch(
        f"unix:{paths.socket}",
        ("/health",),
        launch,
        phase_of,
        WORK,
        tiers,
        weights=weights,
        core_died=CORE_DIED,
        concurrency=settings.max_num_seqs or 0,
        context_length=settings.max_model_len or 0,
        gpu_figures=figures_of(model, settings, order.num_gpus),
        share_option="" if settings.gpu_memory_utilization else "--gpu-memory-utilization",
    )


def figures_of(model: Checkpoint, settings: VllmSettings, num_gpus: int) -> GpuFigures | None:
    """Return what a model takes of each GPU; None without one."""
    return gpu_figures(
        model.size,
        read_attention(model.configuration),
        gpus=num_gpus,
        stages=settings.pipeline_parallel_size,
        context=settings.max_model_len,
        dtype=settings.dtype,
    )


def environment(settings: VllmSettings, num_gpus: int, host: EngineHost) -> dict[str, str]:
    """Return the environment variables that a vLLM needs beside those of its worker."""
    ours = host.policy.environment
    cache = ours.get("VLLM_CACHE_ROOT") or str(host.folders.logs.parent / "cache" / "vllm")
    env = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": "127.0.0.1",  # where its processes listen for each other
        "HF_HUB_OFFLINE": "1",  # the files are all there: nothing may be fetched within a start
        # What was compiled for one engine serves the next.
        "VLLM_CACHE_ROOT": cache,
        # PyTorch would keep it in the TMPDIR, which goes with the engine, and compile for each anew: 20 s of
        # the first request for logprobs on a CPU.
        "TORCHINDUCTOR_CACHE_DIR": ours.get("TORCHINDUCTOR_CACHE_DIR") or f"{cache}/inductor",
    }
    if settings.sleeps(num_gpus):
        env["VLLM_SERVER_DEV_MODE"] = "1"  # or it has no routes for it
    if num_gpus == 0:
        # Left alone, vLLM binds the threads of all engines of a machine to the same cores. Ours are bound as
        # whole families: see ``cores``.
        threads = settings.cpu_threads or host.hardware.cores.share_of_two
        env["VLLM_CPU_OMP_THREADS_BIND"] = ours.get("VLLM_CPU_OMP_THREADS_BIND") or "nobind"
        env["OMP_NUM_THREADS"] = str(threads)
        env["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kv_cache_gib)
        # PyTorch then asks for huge pages: else each GiB of attention state costs 262,144 page faults.
        env["THP_MEM_ALLOC_ENABLE"] = ours.get("THP_MEM_ALLOC_ENABLE") or "1"
    return env


def find_vllm(python: str) -> InstalledEngine:
    """Return the vLLM of an interpreter.

    Raises:
        LaunchProblem: It has none, or one older than ``OLDEST``, or the interpreter cannot be asked.
    """
    installed = find_installed(python, Vllm.name)
    if installed is None:
        raise LaunchProblem(
            f"vLLM is not installed for {python}: {how_to_get_vllm()},"
            " or name a Python that has it with --engine-python vllm=PATH"
        )
    number = re.match(r"(\d+)\.(\d+)", installed.version)
    if number and (int(number[1]), int(number[2])) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise LaunchProblem(
            f"vLLM {installed.version} of {python} is too old: {least} is the oldest that works;"
            f" {how_to_get_vllm()}"
        )
    return installed


def check_device(installed: InstalledEngine, num_gpus: int) -> None:
    """Check that this build of vLLM runs where the replica is to run.

    Raises:
        LaunchProblem: It does not.
    """
    if num_gpus and installed.cpu:
        raise LaunchProblem(
            f"this worker's vLLM ({installed.name} {installed.version}) is built for CPUs:"
            f" deploy with --num-gpus 0, or {how_to_get_vllm(cpu=False)}"
        )
    if not num_gpus and not installed.cpu:
        raise LaunchProblem(
            f"this worker's vLLM ({installed.name} {installed.version}) needs a GPU:"
            f" deploy with --num-gpus 1, or {how_to_get_vllm(cpu=True)}"
        )
