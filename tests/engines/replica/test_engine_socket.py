"""Connecting to an engine: by its unix socket or its port, and what is said when it is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.engines.replica.engine_socket import open_engine_socket

pytestmark = pytest.mark.anyio


def at(address: str) -> ReplicaReport:
    return ReplicaReport(ReplicaId("m:vllm", 1, 1, 1), ReplicaState.READY, address=address)


async def test_an_engine_is_reached_by_its_socket_and_by_its_port(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as by_path, socket.create_server(("127.0.0.1", 0)) as by_port:
        by_path.bind(str(path))
        by_path.listen()
        for listener, address in [
            (by_path, f"unix:{path}"),
            (by_port, f"loopback:{by_port.getsockname()[1]}"),
        ]:
            with await open_engine_socket(at(address)) as near:
                far, _ = listener.accept()
                with far:
                    near.send(b"x")
                    assert far.recv(1) == b"x"
                assert near.gettimeout() == 0.0


async def test_an_engine_whose_queue_is_full_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        opened: list[socket.socket] = []

        async def open_one() -> None:
            opened.append(await open_engine_socket(at(f"unix:{path}")))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(open_one)
                await anyio.sleep(0.05)
                assert len(opened) < 4
                for _ in range(4):
                    await anyio.wait_readable(listener)
                    listener.accept()[0].close()
        assert len(opened) == 4
        for each in opened:
            each.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unix:/nowhere/engine.sock", "No such file"),
        ("loopback:1", "Connection refused"),
        ("", "it has no address"),
        ("http://10.0.0.1:8000", "gateways reach http://10.0.0.1:8000"),
    ],
)
async def test_an_engine_that_is_not_there_is_an_error_with_its_reason(address: str, words: str) -> None:
    with pytest.raises(OSError, match=words):
        await open_engine_socket(at(address))
