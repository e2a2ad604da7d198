"""Make the list of what the installed vLLM imports late: ``make known-imports``, after its pins have changed.

A fork server that knows nothing forks an engine, which serves a few requests; what it still imports is the
list. A second engine is forked from a server that was given it: what that one looks for again is not
installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio import to_thread
from attrs import evolve

from sllm_actors.engines.backends.registry import backend_named
from sllm_actors.engines.backends.vllm_fork import fork_server_spec
from sllm_actors.engines.host import EngineHost, open_host
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.installs.interpreters import find_installed
from sllm_actors.engines.messages import ReplicaOrder
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.plan import LaunchPlan
from sllm_actors.engines.warm.fork_client import ForkServer, ForkServerSpec, open_fork_server
from sllm_actors.engines.warm.forked_engine import IMPORTS
from sllm_actors.engines.warm.known_imports import (
    NOTHING,
    KnownImports,
    known_list,
    write_known_imports,
)
from sllm_actors.engines.warm.late_imports import Learned, read_imports

SOURCE = "demo:smollm2-135m"
SETTINGS = {"max_model_len": 1024, "cpu_kv_cache_gib": 1}
READY_WITHIN = 600.0
QUIET = 3.0
"""Seconds without a further import, after which there will be none."""

REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "stream": True}),
    ("/v1/completions", {"prompt": "Once upon a time"}),
)


async def collect(host: EngineHost, spec: ForkServerSpec) -> KnownImports:
    """Return what engines of this vLLM import late."""
    log = host.folders.logs / "fork-server.log"
    learned = Learned(spec.engine)
    async with open_fork_server(spec, log) as server:
        learned = learned.merge(await imports_of_an_engine(host, server))
    async with open_fork_server(spec, log, learned=learned.modules, preload=learned.preload) as server:
        again = await imports_of_an_engine(host, server)
        count = server.modules
    missing = frozenset(again)
    modules = tuple(name for name in learned.merge(again).modules if name not in missing)
    print(f"{len(modules)} modules, and {len(missing)} names of what is not installed")  # noqa: T201
    return KnownImports(modules, learned.preload, count)


async def imports_of_an_engine(host: EngineHost, server: ForkServer) -> tuple[str, ...]:
    """Fork an engine, have it answer, and return the lines of its file of late imports."""
    python = host.interpreters.of("vllm")
    attempt = await to_thread.run_sync(host.next_attempt)
    key = ReplicaKey("list:vllm", 1, 0)
    order = ReplicaOrder(key, "list", "vllm", SOURCE, SETTINGS, num_gpus=0)
    async with host.models.lend("vllm", SOURCE, lambda: python, lambda _: None) as folder:
        paths = host.folders.paths_for(key.attempt(attempt))
        order = evolve(order, source=folder)
        launch = await to_thread.run_sync(lambda: backend_named("vllm").launch(order, host, paths))
        assert launch.plan is not None
        began = time.monotonic()
        async with EngineProcess(launch.plan, forker=server):
            await serve_requests(launch.plan)
            lines = await settled(launch.plan.paths.tmpdir / IMPORTS)
        print(f"an engine answered after {time.monotonic() - began:.0f} s: {len(lines)} late")  # noqa: T201
        return lines


async def serve_requests(plan: LaunchPlan) -> None:
    """Wait until the engine is ready, and ask it for what clients ask for."""
    transport = httpx2.AsyncHTTPTransport(uds=str(plan.paths.socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=120) as http:
        with anyio.fail_after(READY_WITHIN):
            while not await is_healthy(http):  # noqa: ASYNC110 - another process is waited for
                await anyio.sleep(0.2)
        for path, body in REQUESTS:
            answer = await http.post(path, json={"model": "list", "max_tokens": 4, **body})
            answer.raise_for_status()


async def is_healthy(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).is_success
    except httpx2.TransportError:
        return False


async def settled(path: Path) -> tuple[str, ...]:
    """Read a file of late imports when no more of them come."""
    lines = await to_thread.run_sync(read_imports, path) or ()
    while True:
        await anyio.sleep(QUIET)
        more = await to_thread.run_sync(read_imports, path) or ()
        if len(more) == len(lines):
            return more
        lines = more


def main(python: str) -> None:
    installed = find_installed(python, "vllm")
    if installed is None:
        sys.exit(f"error: vLLM is not installed for {python}: make vllm")
    if not installed.cpu:
        sys.exit(f"error: {installed.name} {installed.version} is a build for GPUs: lists are made for CPUs")
    with tempfile.TemporaryDirectory(prefix="sllm-known-") as folder:
        host = open_host(Path(folder), interpreters={"vllm": python})
        spec = fork_server_spec(host)
        assert spec is not None
        known = anyio.run(collect, host, evolve(spec, known=NOTHING))
    path = known_list("vllm", installed.version, cpu=installed.cpu)
    title = f"What {installed.name} {installed.version} imports late. Made by: make known-imports"
    write_known_imports(path, known, installed.packages, title)
    print(f"written to {path}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
