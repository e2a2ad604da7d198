"""The work on Monarch, on one host: an actor is in a process that it spawns, and asked from the first one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from monarch.actor import (  # type: ignore[import-not-found] # in an environment of its own
    Actor,
    endpoint,
    this_host,
)

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


class Echo(Actor):  # type: ignore[misc]
    @endpoint  # type: ignore[untyped-decorator]
    def echo(self, body: bytes) -> bytes:
        return body

    @endpoint  # type: ignore[untyped-decorator]
    def take(self, body: bytes) -> int:
        return len(body)


def measured(scale: Scale, work: Callable[[], int]) -> float:
    if scale.warm_up:
        rate(work, scale.warm_up)
    return rate(work, scale.seconds)


def tells(method: Any, body: bytes, burst: int = BURST) -> Callable[[], int]:
    def once() -> int:
        for _ in range(burst):
            method.broadcast(body)
        method.call_one(body).get()
        return burst

    return once


def asks(method: Any, body: bytes) -> Callable[[], int]:
    def once() -> int:
        for _ in range(16):
            method.call_one(body).get()
        return 16

    return once


def asks_under_way(method: Any, body: bytes) -> Callable[[], int]:
    def once() -> int:
        for answer in [method.call_one(body) for _ in range(UNDER_WAY)]:
            answer.get()
        return UNDER_WAY

    return once


def latencies(method: Any, scale: Scale) -> list[float]:
    took: list[float] = []
    patience = time.perf_counter() + scale.patience
    while len(took) < scale.samples and (began := time.perf_counter()) < patience:
        method.call_one(SMALL).get()
        took.append(time.perf_counter() - began)
    return took


def flow(method: Any, enough: threading.Event) -> None:
    under_way: deque[Any] = deque()
    while not enough.is_set():
        while len(under_way) < BULK:
            under_way.append(method.call_one(BODIES["1m"]))
        under_way.popleft().get()


def remote(scale: Scale) -> None:
    process = this_host().spawn_procs(per_host={"procs": 1})
    echo, bulk = process.spawn("echo", Echo), process.spawn("bulk", Echo)
    for each in (echo, bulk):
        each.echo.call_one(SMALL).get()
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


if __name__ == "__main__":
    {"remote": remote}[sys.argv[1]](SCALES[sys.argv[2]])
    os._exit(0)  # its threads do not end by themselves; what it spawned ends with it
