"""What a worker in a container knows of the image that it came with: the engines that are in it."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SLLM_IMAGE_ENGINES"
"""The variable by which an image names the folder of its engines: like ``Interpreters.engines_dir``."""


def image_engines() -> Path | None:
    """Return the folder with the engines of this container's image; None where no image of ours runs."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else None


def how_to_get_vllm(*, cpu: bool | None = None) -> str:
    """Return what gives a worker a vLLM, as the end of a sentence.

    Args:
        cpu: Whether it is to be the build for CPUs, or that for GPUs; None if either will do.
    """
    if image_engines() is None:
        build = "" if cpu is None else " --cpu" if cpu else " --gpu"
        return f"run `sllm engines install vllm{build}` on this worker"
    if cpu is None:
        return "start this worker from an image that was built with vLLM (build argument ENGINES)"
    return f"start this worker from the image {'worker-cpu' if cpu else 'worker'}"
