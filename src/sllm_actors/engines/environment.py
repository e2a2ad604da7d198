"""The environment of an engine: what it may see of the worker's own, and what it needs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sllm_actors.observe.redaction import without_secrets

from .plan import EnginePaths

MARKER = "SLLM_ENGINE"
"""The variable by which an engine's processes are found when its leash was killed, too."""

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
    """Return the environment of an engine.

    Args:
        ours: The worker's environment; see ``inherited`` for what the engine gets of it.
        paths: Its TMPDIR, and its socket, whose name becomes the value of ``MARKER``.
        more: Further variables.
    """
    env = inherited(ours)
    env.update(TMPDIR=str(paths.tmpdir), PYTHONUNBUFFERED="1", **more)
    env[MARKER] = paths.socket.name
    env["SPT_NOENV"] = "1"  # setproctitle would write process titles over the environment, the mark with it
    return env


def inherited(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a worker's environment that its engines may see.

    Left out are secrets (see ``without_secrets``) and the addresses of services, which Kubernetes and linked
    containers set: a service called ``vllm`` sets ``VLLM_PORT=tcp://10.0.0.9:8000``, with which no vLLM
    starts.
    """
    return {
        name: value for name, value in without_secrets(ours).items() if not is_service_address(name, value)
    }


def is_service_address(name: str, value: str) -> bool:
    """Return whether a variable is one by which Kubernetes or linked containers tell where a service is."""
    return _SERVICE.fullmatch(name) is not None or (
        name.endswith("_PORT") and _ADDRESS.match(value) is not None
    )


def why_decided(name: str) -> str:
    """Return why a deployment cannot set this variable for its engines, or "" if it can."""
    return "it is sllm's own" if name.upper().startswith("SLLM_") else _DECIDED.get(name, "")


def chooses_code(name: str) -> bool:
    """Return whether a variable can make an engine run other programs or libraries than its own."""
    return _CODE.fullmatch(name) is not None
