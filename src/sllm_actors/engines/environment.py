"""The environment of an engine: what it may see of the worker's own, and what it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sllm_actors.observe.redaction import without_secrets

from .plan import EnginePaths

MARKER = "SLLM_ENGINE"
"""In an engine's environment: the one thing that names its processes when even its leash was killed."""

_GPUS = "the worker chooses the GPUs"
_THREADS = "give the setting cpu_threads of vllm, or n_threads of llamacpp"
_PLACE = "the engine listens where only its worker reaches it"
_DECIDED = {
    "TMPDIR": "each engine gets its own",
    "PYTHONUNBUFFERED": "the worker reads the engine's log",
    "SPT_NOENV": "the worker finds the engine's processes by their environment",
    "CUDA_VISIBLE_DEVICES": _GPUS,
    "NVIDIA_VISIBLE_DEVICES": _GPUS,
    "HIP_VISIBLE_DEVICES": _GPUS,
    "ROCR_VISIBLE_DEVICES": _GPUS,
    "OMP_NUM_THREADS": _THREADS,
    "VLLM_CPU_OMP_THREADS_BIND": _THREADS,
    "VLLM_CPU_KVCACHE_SPACE": "give the setting cpu_kv_cache_gib",
    "VLLM_SERVER_DEV_MODE": "give the setting enable_sleep_mode",
    "VLLM_HOST_IP": _PLACE,
    "VLLM_PORT": _PLACE,
    "VLLM_API_KEY": "the gateway asks for keys",
    "HF_HUB_OFFLINE": "the worker brings the files",
}
_CODE = re.compile(r"LD_\w+|PYTHON\w+|PATH|BASH_ENV|ENV|GCONV_PATH|GLIBC_TUNABLES|GGML_BACKEND_PATH")

_SERVICE = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def engine_environment(ours: Mapping[str, str], paths: EnginePaths, **more: str) -> dict[str, str]:
    """Return the environment of an engine: what it inherits of ours, its own TMPDIR, ``more``."""
    env = inherited(ours)
    env.update(TMPDIR=str(paths.tmpdir), PYTHONUNBUFFERED="1", **more)
    env[MARKER] = paths.socket.name
    env["SPT_NOENV"] = "1"  # setproctitle would write process titles over the environment, the mark with it
    return env


def inherited(ours: Mapping[str, str]) -> dict[str, str]:
    """Return what an engine and its libraries may see of our environment.

    That is neither a secret (see ``without_secrets``) nor the address of a service, as Kubernetes and linked
    containers set for each service beside us: one called ``vllm`` comes as ``VLLM_PORT=tcp://10.0.0.9:8000``,
    which ends every vLLM.
    """
    return {
        name: value for name, value in without_secrets(ours).items() if not is_service_address(name, value)
    }


def is_service_address(name: str, value: str) -> bool:
    """Say whether a variable is one that a platform sets to tell where a service is."""
    return _SERVICE.fullmatch(name) is not None or (
        name.endswith("_PORT") and _ADDRESS.match(value) is not None
    )


def why_decided(name: str) -> str:
    """Say why a deployment cannot set a variable for its engines, or ""."""
    return "it is sllm's own" if name.upper().startswith("SLLM_") else _DECIDED.get(name, "")


def chooses_code(name: str) -> bool:
    """Say whether a variable can make an engine run other programs or libraries than its own."""
    return _CODE.fullmatch(name) is not None
