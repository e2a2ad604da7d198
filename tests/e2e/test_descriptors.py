"""A cluster that may open few files: it says what it cannot take, and serves on."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import httpx2

from .cluster import Sllm, eventually

LIMIT = 300  # of which a gateway gives connections of clients 150


def test_more_connections_than_there_are_descriptors_cost_nobody_else_anything(tmp_path: Path) -> None:
    ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
    limited = ("prlimit", f"--nofile=200:{LIMIT}")
    up = Sllm("up", "--data-dir", str(tmp_path), *ports, "--fork-servers", "none", prefix=limited)
    try:
        url = up.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        up.wait_for("worker: joined")
        for name in ("head", "worker", "gateway-0"):
            limits = Path(f"/proc/{up.node(name)}/limits").read_text()
            assert next(line.split()[3:5] for line in limits.splitlines() if "open files" in line) == 2 * [
                str(LIMIT)
            ]
        host, _, port = url.removeprefix("http://").rpartition(":")
        with ExitStack() as crowd:
            for _ in range(2 * LIMIT):
                crowd.enter_context(socket.create_connection((host, int(port)), 10))
            refused = eventually(lambda: _refusal(url), what="a refusal")
            assert refused == "too_many_connections"
        eventually(lambda: _status(url) == 200, what="room again")
        log = (tmp_path / "gateway-0" / "node.log").read_text()
        assert "gateway.too_many_connections" in log
        assert "Too many open files" not in log + up.output
        assert up.node("gateway-0")
    finally:
        up.kill_all()


def _refusal(url: str) -> str:
    """Return the code by which a request is refused; nothing where its connection is only closed."""
    try:
        answer = httpx2.get(f"{url}/v1/models", timeout=60, trust_env=False)
    except httpx2.TransportError:
        return ""
    return str(answer.json()["error"]["code"]) if answer.status_code == 503 else ""


def _status(url: str) -> int:
    try:
        return httpx2.get(f"{url}/v1/models", timeout=60, trust_env=False).status_code
    except httpx2.TransportError:
        return 0
