"""The images, built once for all tests that run them, whichever process these are in.

    python -m tests.containers.store FOLDER

builds them into a folder and tells their sizes, or why no container can run here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.hosts.network import MISSING

import sllm_actors

from .images import BASE, ROOT, SOURCES, build, copy_source, make_base, size
from .podman import NoContainers, Podman, missing, running_podman

FOLDER = "SLLM_CONTAINERS"
"""The environment variable that names the folder of the images: `make test` makes one for all its processes,
and a person names one whose images the next run of the tests is to find."""

ENGINES = os.environ.get("SLLM_CONTAINERS_ENGINES") or "llamacpp"

TARGETS = ("head", "worker-cpu")
GPU_TARGET = "worker"
"""The image for GPUs: built in the long form only, on the base of the others."""

GPU_ROOM = 40_000_000_000
"""Bytes that are to be free, so that it has vLLM: podman writes a layer four times before it has it."""

NEWER = f"{sllm_actors.__version__}.post1"
"""The version of the images sllm:TARGET-newer; sllm:TARGET has that of this repository."""


@cache
def images() -> Path:
    """Return the folder with the images, which are built if this has not been done.

    Raises:
        NoContainers: No container can run here.
    """
    folder = Path(os.environ.get(FOLDER) or tempfile.mkdtemp(prefix="images-"))
    build_all(folder)
    return folder


def build_all(folder: Path) -> None:
    """Build the images into a folder, unless it has those of these sources.

    Raises:
        NoContainers: No container can run here.
    """
    if why := missing() or MISSING:
        raise NoContainers(why)
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "built"
    with _alone(folder):
        sources = _fingerprint()
        if stamp.exists() and stamp.read_text() == sources:
            return
        newer = folder / "newer"
        with running_podman(folder) as podman:
            make_base(podman)
            shutil.rmtree(newer, ignore_errors=True)
            copy_source(newer, NEWER)
            for tag, source in (("", ROOT), ("-newer", newer)):
                for target in TARGETS:
                    options = {"ENGINES": ENGINES, "TORCH_CPU_INDEX": ""} if target == "worker-cpu" else {}
                    build(podman, target, f"sllm:{target}{tag}", source=source, **options)
            if "vllm" in ENGINES.split():
                engines = ENGINES if shutil.disk_usage(folder).free > GPU_ROOM else "llamacpp"
                build(podman, GPU_TARGET, f"sllm:{GPU_TARGET}", BASE_CUDA=BASE, ENGINES=engines)
        stamp.write_text(sources)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process builds images into a folder, and keep others from it meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    """Return what differs when the images would."""
    found = hashlib.sha256(ENGINES.encode())
    for name in SOURCES:
        there = ROOT / name
        for path in sorted(there.rglob("*")) if there.is_dir() else [there]:
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path}\0".encode() + path.read_bytes())
    return found.hexdigest()


def tell_size(podman: Podman, target: str) -> str:
    """Return how big an image is."""
    return f"sllm:{target} adds {size(podman, f'sllm:{target}') / 1e6:.0f} MB to its base"


def main() -> int:
    folder = Path(sys.argv[1])
    try:
        build_all(folder)
    except NoContainers as why:
        sys.stdout.write(f"No container can run here: {why}\n")
        return 0
    with running_podman(folder) as podman:
        sys.stdout.write("".join(f"{tell_size(podman, target)}\n" for target in TARGETS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
