"""podman, three hosts, and the images, made once for all tests of a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hosts.network import MISSING, Network, network_of

import sllm_actors

from .images import build, copy_source, make_base
from .machines import Machines
from .podman import Podman, missing, running_podman

WANTED = "SLLM_TEST_CONTAINERS"
"""The environment variable that says that the images are to be built and run."""

KEPT = "SLLM_CONTAINERS"
"""The environment variable that names a folder whose images are kept for the next run of the tests."""

ENGINES = os.environ.get("SLLM_CONTAINERS_ENGINES") or "llamacpp"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    if not os.environ.get(WANTED):
        pytest.skip("takes minutes: make test-containers runs it")
    if why := missing() or MISSING:
        pytest.skip(why)
    with network_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2") as made:
        yield made


@pytest.fixture(scope="module")
def podman(network: Network) -> Iterator[Podman]:
    """podman, which sees the hosts' networks."""
    kept = os.environ.get(KEPT)
    folder = Path(kept or tempfile.mkdtemp(prefix="sllm-"))
    try:
        with running_podman(folder) as made:
            yield made
    finally:
        if not kept:
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def images(podman: Podman) -> Podman:
    """The images sllm:head and sllm:worker-cpu."""
    make_base(podman)
    build(podman, "head", "sllm:head")
    build(podman, "worker-cpu", "sllm:worker-cpu", ENGINES=ENGINES, TORCH_CPU_INDEX="")
    return podman


@pytest.fixture(scope="module")
def newer(images: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The version of newer images, sllm:head-VERSION and sllm:worker-cpu-VERSION."""
    version = f"{sllm_actors.__version__}.post1"
    source = tmp_path_factory.mktemp("newer")
    copy_source(source, version)
    for target in ("head", "worker-cpu"):
        build(images, target, f"sllm:{target}-{version}", source=source, ENGINES=ENGINES, TORCH_CPU_INDEX="")
    return version


@pytest.fixture
def machines(images: Podman, network: Network, tmp_path: Path) -> Iterator[Machines]:
    """The hosts, on which nothing runs yet."""
    made = Machines(images, network, tmp_path)
    try:
        yield made
    finally:
        made.close()
