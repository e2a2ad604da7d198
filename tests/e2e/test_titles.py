"""What ``ps`` shows of a cluster."""

from __future__ import annotations

from pathlib import Path

import psutil

from .cluster import Sllm


def test_nodes_and_their_launcher_say_what_they_are_and_keep_their_environment(tmp_path: Path) -> None:
    ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0")
    head = Sllm("head", *ports, "--data-dir", str(tmp_path / "head"), "--host", "127.0.0.1")
    try:
        address = head.wait_for(r"gateway-0: joined the head at (\S+)")[1]
        assert title(head.process.pid) == "sllm launcher of a head"
        assert {title(pid) for pid, _ in head.nodes()} == {"sllm head", "sllm gateway-0"}
        secret = ("--secret-file", str(tmp_path / "head" / "secret"))
        folder = ("--data-dir", str(tmp_path / "worker"), "--port", "0", "--host", "127.0.0.1")
        worker = Sllm("worker", "--head", address, *secret, *folder, "--name", "gpu-1 in rack b")
        try:
            worker.wait_for("joined the head")
            assert title(worker.node("worker")) == "sllm worker gpu-1 in rack b"
            environment = psutil.Process(worker.node("worker")).environ()
            assert environment["PYTHONUNBUFFERED"] == "1"
        finally:
            worker.kill_all()
    finally:
        head.kill_all()


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
