"""What kept a worker from running a deployment is mended while the worker runs: the deployment comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from .cluster import Cluster, eventually
from .commands import gguf, sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]


def test_a_model_file_that_is_back_is_served_again_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.symlink_to(gguf())
    cluster = Cluster(tmp_path / "data")
    try:
        engine = ("--backend", "llamacpp", "--source", str(file), "--engine-arg", "n_ctx=512")
        deployed = sllm(cluster, "deploy", "--model", "m", *engine, "--wait", "--timeout", "60")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        file.unlink()
        os.kill(cluster.sllm.node("worker"), signal.SIGKILL)

        def told() -> bool:
            return f"{file} does not exist on worker" in json.dumps(cluster.describe("m:llamacpp"))

        eventually(told, what="the worker is back, and says what is missing")
        worker = cluster.sllm.node("worker")
        file.symlink_to(gguf())
        cluster.wait_ready("m:llamacpp")
        assert cluster.ask(model="m")
        assert cluster.sllm.node("worker") == worker
    finally:
        cluster.close()
