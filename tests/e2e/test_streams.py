"""Nodes whose standard streams are closed, full or broken serve on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2
import pytest
from tests.ports import free_port

from .cluster import eventually


@contextmanager
def stream(kind: str) -> Iterator[int | IO[bytes]]:
    """Give something to write to that takes nothing."""
    if kind == "full":
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device, by its name
            yield full
        return
    read, write = os.pipe()
    if kind == "without a reader":
        os.close(read)
    else:
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(write, bytes(65536)):
                pass
        os.set_blocking(write, True)
    try:
        yield write
    finally:
        os.close(write)
        if kind != "without a reader":
            os.close(read)


@pytest.mark.parametrize("kind", ["closed", "full", "without a reader", "whose reader is stuck"])
def test_a_head_serves_whatever_became_of_its_streams(tmp_path: Path, kind: str) -> None:
    port = free_port()
    ports = ("--gateways", "0", "--cluster-port", str(port), "--transport-port", "0")
    head = [sys.executable, "-m", "sllm_actors", "head", *ports, "--host", "127.0.0.1"]
    head += ["--data-dir", str(tmp_path)]
    if kind == "closed":
        head = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *head]
    with stream("full" if kind == "closed" else kind) as output:
        process = subprocess.Popen(head, stdout=output, stderr=output, start_new_session=True)
        try:
            eventually(lambda: _answers(port), what="the head answers")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert '"level": "error"' not in (tmp_path / "head" / "node.log").read_text()


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=60, trust_env=False).is_success
    except httpx2.TransportError:
        return False
