"""Two gateway processes on one port: what that costs, how evenly they work, and that nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import median

from attrs import evolve

from .load import put_under_load
from .ours import open_ours
from .phases import Phase
from .plan import Plan
from .target import Target

QUEUED = 64
"""Requests that wait, unread, in the listening socket's queue while a process dies."""

PAIR = ("first", "second")
MOST_ROUNDS = 5
FEW, MANY = 32, 256
"""Connections: for what a request costs, and for who takes how many, which is chance."""


def measure_processes(folder: Path, plan: Plan, say: Callable[[str], None]) -> dict[str, float]:
    """Return the figures ``processes_*``.

    Raises:
        SystemFailed: A cluster does not serve.
        ChildFailed: It could not be put under load.
    """
    seconds = max(plan.seconds, 1.0)
    few, many = Phase("plain", FEW, seconds), Phase("plain", MANY, seconds)
    rounds = min(MOST_ROUNDS, plan.rounds)
    single, both, shares = [], [], []
    with (
        open_ours("one process", folder / "one") as one,
        open_ours("two processes", folder / "two", gateways=2) as two,
    ):
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: one process and two")
            single.append(put_under_load(one.name, one.target, [few]).figures[f"{few.name}_gateway_us"])
            found = put_under_load(two.name, _apart(two.target), [few, many]).figures
            both.append(sum(found[f"{few.name}_{each}_us"] for each in PAIR))
            used = [found[f"{many.name}_{each}_us"] for each in PAIR]
            shares.append(min(used) / sum(used))
        say("a process dies")
        lost = asyncio.run(lost_with_a_process(two.target))
    return {
        "processes_one_us": median(single),
        "processes_two_us": median(both),
        "processes_ratio": median(both) / median(single),
        "processes_least_share": min(shares),
        "processes_lost": float(lost),
    }


def _apart(target: Target) -> Target:
    first, second = target.groups["gateway"]
    return evolve(target, groups=dict(zip(PAIR, ([first], [second]), strict=True)))


async def lost_with_a_process(target: Target) -> int:
    """Kill one of two processes while requests wait in their common queue; return how many got no answer.

    Both are stopped for the moment, so that neither has taken a request when one of them dies.
    """
    first, second = target.groups["gateway"]
    request = target.request(Phase("plain", 1)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
    connections = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(QUEUED)]
    for _, writer in connections:
        writer.write(request)
    os.kill(first, signal.SIGKILL)
    os.kill(second, signal.SIGCONT)

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(30):
                return (await reader.read()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.close()

    return QUEUED - sum(await asyncio.gather(*(answered(*each) for each in connections)))
