"""The work on xoscar, on uvloop: two processes with an actor pool each, TCP on loopback between them."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvloop
import xoscar as xo  # type: ignore[import-not-found] # in an environment of its own

from bench.peers.protocol import (
    BODIES,
    BULK,
    BURST,
    FAN_OUT,
    SCALES,
    SMALL,
    UNDER_WAY,
    Scale,
    async_rate,
    emit,
    emit_latencies,
    resident_bytes,
)

POPULATION = 10_000
"""Actors started to see what an idle one costs."""

MOST_IN_A_BURST = 32 * 2**20


class Echo(xo.Actor):  # type: ignore[misc]
    async def echo(self, body: bytes) -> bytes:
        return body

    async def take(self, body: bytes) -> int:
        return len(body)


async def measured(scale: Scale, work: Callable[[], Awaitable[int]]) -> float:
    if scale.warm_up:
        await async_rate(work, scale.warm_up)
    return await async_rate(work, scale.seconds)


async def tell_rate(method: Any, body: bytes, scale: Scale, *, burst: int = BURST) -> float:
    async def once() -> int:
        for _ in range(burst):
            await method.tell(body)
        await method(body)
        return burst

    return await measured(scale, once)


async def ask_rate(method: Any, body: bytes, scale: Scale) -> float:
    async def once() -> int:
        for _ in range(16):
            await method(body)
        return 16

    return await measured(scale, once)


async def concurrent_ask_rate(method: Any, body: bytes, scale: Scale) -> float:
    async def phase(seconds: float) -> float:
        done = 0
        began = time.perf_counter()

        async def caller() -> None:
            nonlocal done
            while True:
                await method(body)
                done += 1
                if time.perf_counter() - began >= seconds:
                    return

        await asyncio.gather(*(caller() for _ in range(UNDER_WAY)))
        return done / (time.perf_counter() - began)

    if scale.warm_up:
        await phase(scale.warm_up)
    return await phase(scale.seconds)


async def fan_out_rate(refs: Sequence[Any], scale: Scale) -> float:
    async def once() -> int:
        await asyncio.gather(*(ref.echo(SMALL) for ref in refs))
        return 1

    return await measured(scale, once)


async def latencies(method: Any, scale: Scale) -> list[float]:
    took: list[float] = []
    patience = time.perf_counter() + scale.patience
    while len(took) < scale.samples and (began := time.perf_counter()) < patience:
        await method(SMALL)
        took.append(time.perf_counter() - began)
    return took


async def start(address: str, count: int) -> list[Any]:
    return [await xo.create_actor(Echo, uid=f"echo-{each}", address=address) for each in range(count)]


async def local(scale: Scale, address: str) -> None:
    many = await start(address, FAN_OUT)
    echo = many[0]
    emit("local_tell_s", await tell_rate(echo.echo, SMALL, scale))
    emit("local_ask_s", await ask_rate(echo.echo, SMALL, scale))
    emit("local_ask_64_s", await concurrent_ask_rate(echo.echo, SMALL, scale))
    emit("local_fan_out_100_s", await fan_out_rate(many, scale))
    # A ref that is looked up where its actor lives calls the method itself: no message, no queue.
    short_cut = await xo.actor_ref(uid="echo-0", address=address)
    emit("local_call_s", await ask_rate(short_cut.echo, SMALL, scale))


async def population(scale: Scale, address: str) -> None:
    count = min(POPULATION, scale.population)
    await xo.create_actor(Echo, uid="first", address=address)
    gc.collect()
    before, began = resident_bytes(), time.perf_counter()
    await start(address, count)
    took = time.perf_counter() - began
    gc.collect()
    emit("actor_bytes", (resident_bytes() - before) / count)
    emit("started_s", count / took)


async def remote(scale: Scale, _address: str) -> None:
    command = (sys.executable, "-m", "bench.peers.on_xoscar", "far", "full")
    far = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert far.stdout is not None
        address = (await far.stdout.readline()).decode().strip()
        await measure_remote(scale, await start(address, FAN_OUT))
    finally:
        far.kill()
        await far.wait()


async def measure_remote(scale: Scale, many: Sequence[Any]) -> None:
    echo = many[0]
    emit("remote_ask_s", await ask_rate(echo.echo, SMALL, scale))
    emit("remote_ask_64_s", await concurrent_ask_rate(echo.echo, SMALL, scale))
    emit("remote_tell_s", await tell_rate(echo.echo, SMALL, scale))
    emit("remote_fan_out_100_s", await fan_out_rate(many, scale))
    emit_latencies("idle", await latencies(echo.echo, scale))
    bulk = asyncio.create_task(flow(many[1].take))
    await asyncio.sleep(0.2)
    emit_latencies("bulk", await latencies(echo.echo, scale))
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    for ending, body in BODIES.items():
        burst = max(1, min(BURST, MOST_IN_A_BURST // len(body)))
        emit(f"remote_ask_{ending}_s", await ask_rate(echo.take, body, scale))
        emit(f"remote_ask_64_{ending}_s", await concurrent_ask_rate(echo.take, body, scale))
        emit(f"remote_tell_{ending}_s", await tell_rate(echo.take, body, scale, burst=burst))


async def flow(method: Any) -> None:
    while True:
        await asyncio.gather(*(method(BODIES["1m"]) for _ in range(BULK)))


async def main(group: str, scale: Scale) -> None:
    pool = await xo.create_actor_pool("127.0.0.1", n_process=0)
    if group == "far":
        print(pool.external_address, flush=True)
        await pool.join()
        return
    await {"local": local, "population": population, "remote": remote}[group](scale, pool.external_address)
    await pool.stop()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(sys.argv[1], SCALES[sys.argv[2]]))
