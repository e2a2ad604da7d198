"""The other process: a node that echoes. Prints its port, and ends when its standard input does."""

from __future__ import annotations

import sys

import anyio
from anyio.to_thread import run_sync

from bench.peers.protocol import FAN_OUT
from sllm_actors.actors import ChildSpec

from .messages import Echo, Sink
from .node import bench_node, listening_socket


async def run() -> None:
    """Serve until nobody needs it."""
    raw = listening_socket()
    async with bench_node("far") as node:
        for name in ("echo", *(f"echo-{each}" for each in range(FAN_OUT))):
            await node.system.start(ChildSpec(name, Echo, name=name))
        await node.system.start(ChildSpec("sink", Sink, name="sink"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(node.transport.serve, [raw])
            print(raw.getsockname()[1], flush=True)
            await run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
            tasks.cancel_scope.cancel()
