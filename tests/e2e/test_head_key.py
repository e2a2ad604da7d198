"""A cluster whose head has lost the key that its nodes trust."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ports import free_port

from .cluster import Sllm, eventually

pytestmark = pytest.mark.allow_blocking


def starting(data_dir: Path) -> Callable[..., Sllm]:
    """Return what starts a cluster in that directory, each time with the same ports: nodes keep them."""
    flags = ("--port", "--cluster-port", "--transport-port", "--worker-port")
    ports = [argument for flag in flags for argument in (flag, str(free_port()))]
    return lambda *arguments: Sllm("up", "--data-dir", str(data_dir), *ports, *arguments)


def count(data_dir: Path, event: str) -> int:
    return (data_dir / "worker" / "node.log").read_text().count(event)


def test_nodes_refuse_a_head_with_a_new_key_until_they_are_started_once_to_trust_it(tmp_path: Path) -> None:
    start = starting(tmp_path)
    first = start()
    try:
        for node in ("worker", "gateway-0"):
            first.wait_for(f"{node}: joined the head")
            eventually((tmp_path / node / "credentials.json").exists, what="a credential")
        assert first.stop() == 0
    finally:
        first.kill_all()
    (tmp_path / "head.key").unlink()

    refused = start()
    try:
        refused.wait_for(r"head: made a new head\.key, because there was none; nodes .* --trust-new-head")
        for node in ("worker", "gateway-0"):
            refused.wait_for(
                rf"{node}: .*it has another key \(head\.key\) than the head that this node joined: .*"
                r"start such nodes once with --trust-new-head; what runs here goes on"
            )
        assert refused.process.poll() is None
        assert "Traceback" not in refused.output
        refused.stop()
    finally:
        refused.kill_all()

    for arguments in (("--trust-new-head",), ()):  # once is enough
        trusting = start(*arguments)
        try:
            for node in ("worker", "gateway-0"):
                trusting.wait_for(f"{node}: joined the head")
            assert "another key" not in trusting.output
            if arguments:  # nor does a node that is started again trust yet another one
                os.kill(trusting.node("worker"), signal.SIGKILL)
                trusting.wait_for("worker: ended .*starting it again")
                eventually(lambda: count(tmp_path, "node.starts") == 4, what="another start")
                assert count(tmp_path, "head.forgotten") == 1
            assert trusting.stop() == 0
        finally:
            trusting.kill_all()
