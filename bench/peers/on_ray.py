"""The work on Ray: an actor is a process, so there is nothing within one."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray  # type: ignore[import-not-found] # in an environment of its own

from bench.peers.protocol import (
    BODIES,
    BULK,
    BURST,
    SCALES,
    SMALL,
    UNDER_WAY,
    Scale,
    emit,
    emit_latencies,
    rate,
)

PROCESSES = 10
"""Actors started to see what an idle one costs: each is a process."""


class EchoActor:
    def echo(self, body: bytes) -> bytes:
        return body

    def take(self, body: bytes) -> int:
        return len(body)


Echo: Any = ray.remote(num_cpus=0)(EchoActor)


def measured(scale: Scale, work: Callable[[], int]) -> float:
    if scale.warm_up:
        rate(work, scale.warm_up)
    return rate(work, scale.seconds)


def tells(method: Any, body: bytes, burst: int = BURST) -> Callable[[], int]:
    def once() -> int:
        for _ in range(burst):
            method.remote(body)
        ray.get(method.remote(body))
        return burst

    return once


def asks(method: Any, body: bytes) -> Callable[[], int]:
    def once() -> int:
        for _ in range(16):
            ray.get(method.remote(body))
        return 16

    return once


def asks_under_way(method: Any, body: bytes) -> Callable[[], int]:
    # Of the ways to keep 64 under way (one new per answer, asyncio, batches), batches were the fastest.
    def once() -> int:
        ray.get([method.remote(body) for _ in range(UNDER_WAY)])
        return UNDER_WAY

    return once


def latencies(method: Any, scale: Scale) -> list[float]:
    took: list[float] = []
    patience = time.perf_counter() + scale.patience
    while len(took) < scale.samples and (began := time.perf_counter()) < patience:
        ray.get(method.remote(SMALL))
        took.append(time.perf_counter() - began)
    return took


def flow(method: Any, enough: threading.Event) -> None:
    under_way: deque[Any] = deque()
    while not enough.is_set():
        while len(under_way) < BULK:
            under_way.append(method.remote(BODIES["1m"]))
        ray.get(under_way.popleft())


def remote(scale: Scale) -> None:
    echo, bulk = Echo.remote(), Echo.remote()
    ray.get([echo.echo.remote(SMALL), bulk.echo.remote(SMALL)])
    emit("remote_ask_s", measured(scale, asks(echo.echo, SMALL)))
    emit("remote_ask_64_s", measured(scale, asks_under_way(echo.echo, SMALL)))
    emit("remote_tell_s", measured(scale, tells(echo.echo, SMALL)))
    emit_latencies("idle", latencies(echo.echo, scale))
    enough = threading.Event()
    flowing = threading.Thread(target=flow, args=(bulk.take, enough))
    flowing.start()
    emit_latencies("bulk", latencies(echo.echo, scale))
    enough.set()
    flowing.join()
    for ending, body in BODIES.items():
        emit(f"remote_ask_{ending}_s", measured(scale, asks(echo.take, body)))
        emit(f"remote_ask_64_{ending}_s", measured(scale, asks_under_way(echo.take, body)))
        emit(f"remote_tell_{ending}_s", measured(scale, tells(echo.take, body, burst=UNDER_WAY)))


def population(_scale: Scale) -> None:
    began = time.perf_counter()
    many = [Echo.remote() for _ in range(PROCESSES)]
    ray.get([each.echo.remote(SMALL) for each in many])
    emit("started_s", PROCESSES / (time.perf_counter() - began))
    memory = [
        process_bytes(ray.get(each.__ray_call__.remote(lambda _: __import__("os").getpid()))) for each in many
    ]
    emit("actor_bytes", sum(memory) / len(memory))


def process_bytes(pid: int) -> float:
    """Return a process's memory, its share of what it shares with others included."""
    with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123 - no imports that a measurement would see
        return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith("Pss:"))


if __name__ == "__main__":
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40, object_store_memory=2**30
    )
    {"remote": remote, "population": population}[sys.argv[1]](SCALES[sys.argv[2]])
    ray.shutdown()
