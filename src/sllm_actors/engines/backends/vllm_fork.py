"""The fork server of vLLM: what it imports, and in which environment."""

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
"""Modules that every engine imports late. The others come from ``known_imports``, or are learned."""

LATE = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        THREADS,
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_SERVER_DEV_MODE",
    }
)
"""Variables that vLLM reads when an engine starts, not at its import, or that ``forked_engine`` applies."""


def fork_server_spec(host: EngineHost) -> ForkServerSpec | None:
    """Return the specification of the worker's fork server of vLLM, or None if vLLM is not installed. Blocks.

    Raises:
        LaunchProblem: The interpreter for vLLM cannot be asked.
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
    if "LD_PRELOAD" in env:  # vLLM adds to it: what the list has would be incomplete
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
