"""A gateway under all kinds of clients at once, and engines that are killed, leaves nothing behind.

``SLLM_SOAK_SECONDS`` says for how long, ``SLLM_SOAK_SEED`` which clients and which engines.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import define

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually
from .mixed_load import Mix

SECONDS = float(os.environ.get("SLLM_SOAK_SECONDS", "10"))
SEED = int(os.environ.get("SLLM_SOAK_SEED") or random.randrange(2**31))
CLIENTS = 20
ENGINES = 3
BETWEEN_KILLS = 2.0  # seconds, at least
MODEL = "m:command"

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180 + 2 * SECONDS)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with three fake engines, which have fewer places together than there are clients."""
    running = Cluster(tmp_path / "data", "--allow-command", "--warm", "none", "--healthy-uptime", "0")
    try:
        argv = fake_engine_argv("--port", "$PORT", "--rate", "200", python=sys.executable)
        document = {
            "model": "m",
            "backend": "command",
            "backend_config": {"command": list(argv)},
            "num_gpus": 0,
            "max_concurrency": CLIENTS // ENGINES - 2,
            "auto_scaling_config": {"min_instances": ENGINES, "max_instances": ENGINES},
        }
        deployed = running.http.post("/deployments", json=document)
        assert deployed.status_code == 200, deployed.text
        eventually(lambda: len(ready(running)) == ENGINES, what="all engines are ready")
        yield running
    finally:
        running.close()


def ready(cluster: Cluster) -> list[int]:
    """Return the engines that serve, by process id."""
    described: dict[str, Any] = cluster.describe(MODEL) or {"instances": []}
    return [each["pid"] for each in described["instances"] if each["state"] == "ready"]


@define
class Seen:
    """What was seen of the gateway while it was under load."""

    most_in_flight: int = 0
    warm: int = 0
    """Bytes that its process had in memory after a tenth of the time."""


def test_under_mixed_load_and_kills_each_client_gets_what_it_asked_for_and_nothing_is_left(
    cluster: Cluster,
) -> None:
    gateway = psutil.Process(cluster.sllm.node("gateway-0"))
    before = gateway.num_fds()

    mix, seen = asyncio.run(load(cluster, gateway))

    told = f"seed {SEED}, {len(mix.kills)} kills, {mix.held} held, {sorted(mix.outcomes.items())}"
    assert not mix.mistakes, (told, len(mix.mistakes), *mix.mistakes[:3])
    assert mix.kills, told
    assert mix.outcomes["plain: answered"] > 0, told
    assert mix.outcomes["stream: done"] > 0, told
    assert seen.most_in_flight > 0, told
    assert mix.held > 0, told

    eventually(lambda: demand(cluster) == (0, 0), what=f"nothing is held or in flight; {told}")
    eventually(lambda: gateway.num_fds() <= before, what=f"as few descriptors as before; {told}")
    most = 1.2 * seen.warm + 16 * 2**20
    eventually(lambda: gateway.memory_info().rss <= most, what=f"memory as before; {told} {seen}")
    assert cluster.sllm.node("gateway-0") == gateway.pid
    log = (cluster.data_dir / "gateway-0" / "node.log").read_text()
    assert [line for line in log.splitlines() if "mistake" in line or '"level": "error"' in line] == []
    assert "Traceback" not in log + cluster.sllm.output
    print(told, seen, f"rss={gateway.memory_info().rss} fds={before}->{gateway.num_fds()}")  # noqa: T201


async def load(cluster: Cluster, gateway: psutil.Process) -> tuple[Mix, Seen]:
    """Let all clients ask for ``SECONDS``, and kill engines meanwhile."""
    host, _, port = cluster.url.removeprefix("http://").rpartition(":")
    mix, seen = Mix(host, int(port), SEED), Seen()
    now = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        group.create_task(mix.run(CLIENTS, now + SECONDS))
        group.create_task(kill_engines(cluster, mix, now + SECONDS))
        watching = group.create_task(watch(cluster, seen))
        await asyncio.sleep(SECONDS / 10)
        seen.warm = gateway.memory_info().rss
        await asyncio.sleep(SECONDS * 9 / 10)
        watching.cancel()
    return mix, seen


async def kill_engines(cluster: Cluster, mix: Mix, until: float) -> None:
    """Kill one engine after the other, each time while all serve: the others take over what it had."""
    chance = random.Random(SEED)
    clock = asyncio.get_running_loop().time
    while clock() < until:
        serving = await asyncio.to_thread(ready, cluster)
        if len(serving) == ENGINES:
            mix.kills.append(clock())
            os.kill(chance.choice(serving), signal.SIGKILL)
            await asyncio.sleep(BETWEEN_KILLS)
        await asyncio.sleep(0.2)


async def watch(cluster: Cluster, seen: Seen) -> None:
    """Look at what the head is told of the load."""
    while True:
        _, in_flight = await asyncio.to_thread(demand, cluster)
        seen.most_in_flight = max(seen.most_in_flight, in_flight)
        await asyncio.sleep(0.3)


def demand(cluster: Cluster) -> tuple[int, int]:
    """Return how many requests are held and in flight, as the head is told."""
    described = cluster.describe(MODEL)
    return (-1, -1) if described is None else (described["held"], described["in_flight"])
