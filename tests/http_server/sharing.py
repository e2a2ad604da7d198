"""One of several processes that share a listening socket: each answer is the number of the process."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import anyio

from sllm_actors.http_server import Seats, serve_asgi, turns


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"%010d" % os.getpid()})


async def main(listener: int, seats: int, seat: int) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: serve_asgi(
                app,
                socket.socket(fileno=listener),
                shutdown=anyio.Event(),
                grace=1,
                seats=Seats(seats, seat),
            )
        )
        await anyio.wait_all_tasks_blocked()
        os.write(1, b"ready\n")


if __name__ == "__main__":
    descriptors = [int(word) for word in sys.argv[1:4]]
    turns.PATIENCE = float(sys.argv[4])
    anyio.run(main, descriptors[0], descriptors[1], descriptors[2], backend_options={"use_uvloop": True})
