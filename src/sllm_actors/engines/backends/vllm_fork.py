"""What a fork server of vLLM imports, and which engines can be forked from it."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.installs.interpreters import find_installed
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.engines.warm.fork_client import ForkServerSpec
from sllm_actors.engines.warm.forked_engine import THREADS
from sllm_actors.engines.warm.known_imports import known_list, read_known_imports

from .vllm import PROGRAM, Vllm, environment
from .vllm_settings import VllmSettings

EXPECTED = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.model_executor.models.llama",
    "transformers",
    "setproctitle",
)
"""What any engine imports late. The rest is known of its version, or learned from the first ones."""

LATE = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        THREADS,
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_SERVER_DEV_MODE",
    }
)
"""Variables that vLLM reads when an engine starts, not when it is imported; or that a fork sees to."""


def fork_server_spec(host: EngineHost) -> ForkServerSpec | None:
    """Return what the worker's fork server of vLLM is to be, or None where vLLM is not installed. Blocks.

    Raises:
        LaunchProblem: Its interpreter cannot be asked.
    """
    installed = find_installed(host.interpreters.of(Vllm.name), Vllm.name)
    if installed is None:
        return None
    nowhere = EnginePaths(Path("/"), host.folders.tmp, Path("/"))
    variables = environment(VllmSettings(), 0 if installed.cpu else 1, host)
    env = engine_environment(host.policy.environment, nowhere, **variables)
    known = read_known_imports(
        known_list(Vllm.name, installed.version, cpu=installed.cpu), installed.packages
    )
    if "LD_PRELOAD" in env:  # then vLLM wants another one
        known = evolve(known, preload="")
    return ForkServerSpec(
        backend=Vllm.name,
        python=installed.python,
        modules=(PROGRAM,),
        expected=(*EXPECTED, "vllm.v1.worker.cpu_worker" if installed.cpu else "vllm.v1.worker.gpu_worker"),
        env=env,
        late=LATE,
        engine=f"{installed.name} {installed.version} of {installed.python}",
        known=known,
    )
