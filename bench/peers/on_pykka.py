"""The work on pykka: an actor is a thread, everything stays in one process."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable

import pykka  # type: ignore[import-not-found] # in an environment of its own

from bench.peers.protocol import (
    BURST,
    FAN_OUT,
    SCALES,
    SMALL,
    UNDER_WAY,
    Scale,
    emit,
    rate,
    resident_bytes,
)

THREADS = 1_000
"""Actors started to see what an idle one costs; 100,000 threads are more than a machine has."""


class Echo(pykka.ThreadingActor):  # type: ignore[misc]
    def on_receive(self, message: object) -> object:
        return message


def measured(scale: Scale, work: Callable[[], int]) -> float:
    if scale.warm_up:
        rate(work, scale.warm_up)
    return rate(work, scale.seconds)


def local(scale: Scale) -> None:
    echo = Echo.start()
    many = [Echo.start() for _ in range(FAN_OUT)]

    def tells() -> int:
        for _ in range(BURST):
            echo.tell(SMALL)
        echo.ask(SMALL)
        return BURST

    def asks() -> int:
        for _ in range(16):
            echo.ask(SMALL)
        return 16

    def asks_under_way() -> int:
        for answer in [echo.ask(SMALL, block=False) for _ in range(UNDER_WAY)]:
            answer.get()
        return UNDER_WAY

    def fan_out() -> int:
        for answer in [each.ask(SMALL, block=False) for each in many]:
            answer.get()
        return 1

    emit("local_tell_s", measured(scale, tells))
    emit("local_ask_s", measured(scale, asks))
    emit("local_ask_64_s", measured(scale, asks_under_way))
    emit("local_fan_out_100_s", measured(scale, fan_out))


def population(scale: Scale) -> None:
    count = min(THREADS, scale.population)
    Echo.start()
    gc.collect()
    before, began = resident_bytes(), time.perf_counter()
    for _ in range(count):
        Echo.start()
    took = time.perf_counter() - began
    gc.collect()
    emit("actor_bytes", (resident_bytes() - before) / count)
    emit("started_s", count / took)


if __name__ == "__main__":
    {"local": local, "population": population}[sys.argv[1]](SCALES[sys.argv[2]])
    pykka.ActorRegistry.stop_all()
    assert threading.active_count() == 1
