"""Between two processes, over the real transport on loopback."""

from __future__ import annotations

import sys
from subprocess import PIPE

import anyio
from anyio.streams.text import TextReceiveStream

from bench.peers.protocol import BODIES, BURST, FAN_OUT, SMALL, Scale, emit, emit_latencies
from sllm_actors.actors import ActorRef, NodeId

from .messages import Load, Note
from .node import BenchNode, bench_node
from .work import (
    BulkFlow,
    ask_rate,
    concurrent_ask_rate,
    fan_out_rate,
    latencies,
    tell_rate,
    timed,
)

FAR = NodeId("far")
MOST_IN_A_BURST = 32 * 2**20
"""Bytes of a burst of tells at most: what waits for the peer is bounded."""


async def run(loop: str, scale: Scale) -> None:
    """Measure and print what crosses to another process."""
    command = [sys.executable, "-m", "bench.ours", loop, "far", "full"]
    async with await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None) as far:
        assert far.stdout is not None
        assert far.stdin is not None
        port = int(await TextReceiveStream(far.stdout).receive())
        async with bench_node("near") as node:
            node.transport.dial("127.0.0.1", port)
            with anyio.fail_after(10):
                await node.up.wait()
            await measure(node, scale)
        await far.stdin.aclose()


async def measure(node: BenchNode, scale: Scale) -> None:
    """Measure over a link that is up."""
    note = Note(1, SMALL)
    echo = node.system.named("echo", FAR)
    emit("remote_ask_s", await ask_rate(echo, note, scale))
    emit("remote_ask_64_s", await concurrent_ask_rate(echo, note, scale))
    emit("remote_tell_s", await tell_rate(echo, note, scale))
    many = [node.system.named(f"echo-{each}", FAR) for each in range(FAN_OUT)]
    emit("remote_fan_out_100_s", await fan_out_rate(many, note, scale))
    sink = node.system.named("sink", FAR)
    await time_small_messages(echo, sink, scale)
    for ending, body in BODIES.items():
        load = Load(body)
        burst = max(1, min(BURST, MOST_IN_A_BURST // len(body)))
        emit(f"remote_ask_{ending}_s", await ask_rate(sink, load, scale))
        emit(f"remote_ask_64_{ending}_s", await concurrent_ask_rate(sink, load, scale))
        emit(f"remote_tell_{ending}_s", await tell_rate(sink, load, scale, burst=burst))
    lost = node.system.statistics().dead_letters
    if lost:
        raise RuntimeError(f"{lost} messages were lost: the figures mean nothing")


async def time_small_messages(echo: ActorRef, bulk: ActorRef, scale: Scale) -> None:
    """Time small messages, alone and beside large ones to another actor there."""
    note = Note(1, SMALL)
    emit_latencies("idle", await latencies(echo, note, scale))
    flow = BulkFlow(bulk, Load(BODIES["1m"]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.run)
        while not flow.done:  # noqa: ASYNC110 - the flow is under way once the first has come through
            await anyio.sleep(0.001)
        before = flow.done
        with timed() as took:
            emit_latencies("bulk", await latencies(echo, note, scale))
        emit("bulk_mb_s", (flow.done - before) * len(BODIES["1m"]) / 1e6 / took[0])
        tasks.cancel_scope.cancel()
