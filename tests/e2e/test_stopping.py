"""One SIGTERM ends everything in time, wherever it arrives, and who waits for an answer is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually
from .open_stream import OpenStream

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

PROMISED = 10.0
"""Seconds, as the documentation has it."""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with two engines that talk slowly; one of them does not listen to SIGTERM."""
    cluster = Cluster(tmp_path / "data", "--allow-command", "--fork-servers", "none")
    try:
        for model, more in (("calm", ()), ("deaf", ("--ignore-sigterm",))):
            command = fake_engine_argv("--socket", "$SOCKET", "--rate", "20", *more)
            document = {"model": model, "backend": "command", "backend_config": {"command": command}}
            assert cluster.http.post("/deployments", json=document).status_code == 200
        for model in ("calm", "deaf"):
            cluster.wait_ready(f"{model}:command")
        yield cluster
    finally:
        cluster.close()


def logs_of(cluster: Cluster) -> str:
    return "".join(log.read_text() for log in cluster.data_dir.glob("*/node.log"))


def test_a_launcher_that_is_told_to_stop_ends_everything_with_streams_open(serving: Cluster) -> None:
    streams = [OpenStream(serving.url, model) for model in ("calm", "deaf")]
    assert serving.sllm.stop(number=signal.SIGTERM, within=PROMISED) == 0
    assert [stream.error()["code"] for stream in streams] == 2 * ["gateway_stopping"]
    assert serving.sllm.left() == []
    assert "killed" not in serving.sllm.output
    assert "Traceback" not in serving.sllm.output + logs_of(serving)


@pytest.mark.parametrize("name", ["gateway-0", "worker", "head"])
def test_a_node_alone_that_is_told_to_stop_ends_in_time(serving: Cluster, name: str) -> None:
    stream = OpenStream(serving.url, "deaf")
    node = psutil.Process(serving.sllm.node(name))
    family = [node, *node.children(recursive=True)]
    node.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=PROMISED)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    match name:
        case "gateway-0":
            assert stream.error()["code"] == "gateway_stopping"
        case "worker":
            stream.wait()  # nobody is left hanging
        case "head":  # it is not on the way of a request
            before = len(stream.text)
            eventually(lambda: len(stream.text) > before, what="the stream goes on")
    # The launcher starts it again.
    eventually(lambda: name in [each for _, each in serving.sllm.nodes()], what=f"{name} again")
    assert "exit code 0" in serving.sllm.output
    assert "Traceback" not in serving.sllm.output + logs_of(serving)
