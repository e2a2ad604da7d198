"""The load that gateways are measured with finds what it should, on real sockets and processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bench.gateway_suite import open_streams
from bench.gateway_suite.burst import burst
from bench.gateway_suite.closed_loop import ClosedLoop
from bench.gateway_suite.connection import Connection
from bench.gateway_suite.measures import declare
from bench.gateway_suite.phases import Kind, Phase
from bench.gateway_suite.target import Target
from bench.gateway_suite.upstream import FIRST, LAST, NEXT, Upstream
from bench.gateway_suite.usage import processor_seconds, quiet


@asynccontextmanager
async def upstream() -> AsyncIterator[Target]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    async with server:
        yield Target(server.sockets[0].getsockname()[1], "key", "bench", {"gateway": []})


async def figures_of(kind: Kind, connections: int) -> dict[str, float]:
    phase = Phase(kind, connections, 0.2)
    async with upstream() as target:
        if kind == "steady":
            return await open_streams.steady(target, phase)
        if kind == "burst":
            return await burst(target, phase)
        return await ClosedLoop(target, phase).run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("plain", {"rps", "total_p50_ms", "total_p99_ms"}),
        ("streamed", {"rps", "total_p50_ms", "ttft_p50_ms", "ttft_p99_ms"}),
        ("steady", {"chunks_s"}),
        ("burst", {"answered"}),
    ],
)
def test_a_phase_finds_its_figures_and_no_errors(kind: Kind, more: set[str]) -> None:
    figures = asyncio.run(figures_of(kind, 4))
    assert figures["errors"] == 0
    assert more <= {name for name, value in figures.items() if value > 0}
    names = {f"{kind}_{name}" for name in figures}
    assert set(declare(names)) == names


@pytest.mark.slow
def test_many_streams_are_open_together_and_all_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("phases", "open_streams"):
        monkeypatch.setattr(f"bench.gateway_suite.{module}.MANY_MS", 20)

    async def run() -> dict[str, float]:
        async with upstream() as target:
            return await open_streams.many(target, Phase("many", 30, 0.2))

    figures = asyncio.run(run())
    assert [figures[name] for name in ("open", "missing", "finished", "errors")] == [30, 0, 30, 0]
    assert "kib_per_stream" in figures


class Broken(asyncio.Protocol):
    """Gives a fixed answer, whatever is asked, and hangs up."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)
        self.transport.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        FIRST + NEXT,
        FIRST + b"0\r\n\r\n",
        b"what?",
    ],
)
def test_an_answer_that_is_wrong_or_not_whole_is_an_error(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "answer", answer)

    async def run() -> dict[str, float]:
        server = await asyncio.get_running_loop().create_server(Broken, "127.0.0.1", 0)
        async with server:
            target = Target(server.sockets[0].getsockname()[1], "key", "bench", {"gateway": []})
            return await ClosedLoop(target, Phase("streamed", 1, 0.1)).run()

    figures = asyncio.run(run())
    assert figures["rps"] == 0
    assert figures["errors"] >= 1


@pytest.mark.slow
def test_events_are_counted_wherever_the_stream_is_cut() -> None:
    answer = FIRST + 3 * NEXT + LAST

    async def run(cut: int) -> tuple[int, bool]:
        connection = Connection(b"", streamed=True, on_answer=lambda _: None)
        connection.data_received(answer[:cut])
        connection.data_received(answer[cut:])
        return connection.events, connection.good

    assert {asyncio.run(run(cut)) for cut in range(len(answer))} == {(6, True)}


def test_the_clock_of_a_process_is_its_processor_time() -> None:
    before = processor_seconds([os.getpid()])
    began = time.process_time()
    while time.process_time() - began < 0.05:
        pass
    assert 0.05 <= processor_seconds([os.getpid()]) - before < 5
    assert processor_seconds([os.getpid(), os.getpid()]) > before


@pytest.mark.slow
def test_a_system_is_quiet_when_it_uses_no_processor_or_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.gateway_suite.usage.QUIET_WITHIN", 1.0)
    monkeypatch.setattr("bench.gateway_suite.usage.QUIET", 0.005)  # a busy machine gives little to each
    code = "import sys\nfor line in sys.stdin:\n    while line != 'rest\\n': pass"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) as process:
        target = Target(1, "key", "bench", {"gateway": [process.pid]})
        assert process.stdin is not None
        process.stdin.write("rest\n")
        process.stdin.flush()
        assert quiet(target)
        process.stdin.write("work\n")
        process.stdin.flush()
        assert not quiet(target)
        process.kill()
        process.wait()
        assert quiet(target)
