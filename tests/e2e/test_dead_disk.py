"""A disk that does not answer is told by its path, holds no deployment pending, and holds up no stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.dead_mount import dead_mount

from .cluster import DEMO_ID, Cluster, eventually
from .commands import gguf, sllm
from .test_stopping import PROMISED

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

DEPLOY = ("deploy", "--model", "m", "--backend", "llamacpp", "--source")


def stop(cluster: Cluster) -> None:
    assert cluster.sllm.stop(number=signal.SIGTERM, within=PROMISED) == 0
    assert cluster.sllm.left() == []
    assert "Traceback" not in cluster.sllm.output


def test_a_source_on_a_dead_mount_is_refused_by_its_path(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--demo", "--fork-servers", "none")
    try:
        cluster.wait_ready()
        with dead_mount(tmp_path / "away") as away:
            for source in (away / "model.gguf", away):
                refused = sllm(
                    cluster, "deploy", "--model", "m", "--backend", "llamacpp", "--source", f"{source}"
                )
                assert refused.returncode == 1
                assert f"{source} has not answered for" in refused.stderr
            assert cluster.ask()  # the worker does everything else meanwhile
            stop(cluster)
    finally:
        cluster.close()


def test_a_fifo_is_refused_by_its_path(fresh_cluster: Cluster, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    for source in (tmp_path / "model.gguf", tmp_path):
        refused = sllm(fresh_cluster, *DEPLOY, str(source))
        assert refused.returncode == 1
        assert f"{tmp_path / 'model.gguf'} on worker" in refused.stderr
        assert "cannot be read: it is a FIFO, not a file" in refused.stderr
    stop(fresh_cluster)


def test_a_replica_whose_disk_has_gone_silent_fails_with_its_path(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--fork-servers", "none")
    folder = tmp_path / "models"
    folder.symlink_to(gguf().parent)
    try:
        source = str(folder / gguf().name)
        document = {"model": "m", "backend": "llamacpp", "source": source}
        assert cluster.http.post("/deployments", json=document).status_code == 200
        cluster.wait_ready("m:llamacpp")
        with dead_mount(tmp_path / "away") as away:
            folder.unlink()
            folder.symlink_to(away)
            os.kill(cluster.engine("m:llamacpp"), signal.SIGKILL)

            def failed() -> Any:
                described = cluster.describe("m:llamacpp")
                (instance,) = described["instances"] if described else [{}]
                reason = instance.get("reason", "")
                return source in reason and instance["state"] == "failed" and reason

            reason = eventually(failed, what="it fails")
            assert "answer" in reason
            stop(cluster)
    finally:
        cluster.close()


def test_a_program_on_a_dead_mount_is_told_by_its_path(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--fork-servers", "none", "--allow-command")
    try:
        with dead_mount(tmp_path / "away") as away:
            program = str(away / "serve")
            document = {
                "model": "m",
                "backend": "command",
                "backend_config": {"command": [program, "$SOCKET"]},
            }
            answer = cluster.http.post("/deployments", json=document)
            assert answer.status_code == 200, answer.text

            def failed() -> bool:
                described = cluster.describe("m:command") or {"instances": []}
                return any(program in each["reason"] for each in described["instances"])

            eventually(failed, what="it fails")
            stop(cluster)
    finally:
        cluster.close()


def test_a_dead_storage_costs_a_worker_only_what_is_on_it(tmp_path: Path) -> None:
    with dead_mount(tmp_path / "away") as away:
        cluster = Cluster(tmp_path / "data", "--demo", "--storage-path", f"{away}", "--fork-servers", "none")
        try:
            cluster.wait_ready(DEMO_ID)
            assert cluster.ask()
            refused = sllm(cluster, *DEPLOY, "hf:org/tiny")
            assert refused.returncode == 1
            assert f"{away / 'models'} has not answered for" in refused.stderr
            stop(cluster)
        finally:
            cluster.close()
