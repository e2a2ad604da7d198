"""The first engines of a fresh worker, deployed right after its start, before its fork server is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster

from sllm_actors.engines.installs.interpreters import find_installed
from sllm_actors.engines.warm.forked_engine import IMPORTS
from sllm_actors.engines.warm.known_imports import known_list
from sllm_actors.engines.warm.late_imports import PRELOAD, read_imports

from .family import both_ready, was_forked

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(420)]

FEW = 20
"""Names that engines look for although they are not installed; without a list they import more than 300."""


def test_they_wait_for_the_fork_server(cluster: Cluster) -> None:
    for instance in both_ready(cluster, within=10):
        assert was_forked(instance["pid"])


def test_they_import_no_more_than_is_known_of_the_pinned_version(cluster: Cluster, vllm_python: str) -> None:
    installed = find_installed(vllm_python, "vllm")
    assert installed is not None
    if not known_list("vllm", installed.version, cpu=installed.cpu).exists():
        pytest.skip(f"{installed.name} {installed.version} is not the pinned one")
    for instance in both_ready(cluster, within=10):
        socket = Path(instance["address"].removeprefix("unix:"))
        lines = read_imports(socket.parent / "t" / socket.stem / IMPORTS)
        assert lines is not None
        assert len(lines) < FEW, f"{lines}: make known-imports"
        assert not [line for line in lines if line.startswith(PRELOAD)], "its fork server begins anew"
