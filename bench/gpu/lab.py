"""A cluster on one machine with a GPU, and what is seen of that GPU meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.cold_suite.cluster import Cluster, wait_for
from bench.gpu.memory import used_mib
from sllm_actors.testing.fake_engine import PROGRAM

MIB = 2**20

WEIGHTS, CACHE = 4096, 2048
"""MiB of the engines here."""

CONTEXT = 1200
"""MiB at most that CUDA takes for itself in each process."""

SLACK = 64
"""MiB by which a GPU's figure may be off."""

WITHIN = 120.0
ENGINE = Path(__file__).with_name("engine.py")


class Lab:
    """A cluster on one machine, and its GPU.

    Attributes:
        cluster: The cluster.
        idle: MiB of GPU memory that were in use before anything ran.
    """

    def __init__(self, cluster: Cluster, python: Path, idle: int) -> None:
        self.cluster = cluster
        self.idle = idle
        self._python = str(python)

    def deploy(self, model: str, *, cache: int = CACHE, **document: Any) -> str:
        """Deploy an engine with real GPU memory; return its id."""
        command = [self._python, str(ENGINE), "--fake-engine", str(PROGRAM), "--socket", "$SOCKET"]
        command += ["--model", "$NAME", "--weights", str(WEIGHTS), "--cache", str(cache)]
        settings = {"command": command, "enable_sleep_mode": True}
        known = {"model": model, "backend": "command", "num_gpus": 1, "backend_config": settings}
        return self.cluster.deploy(known | document)

    def ready(self, deployment: str) -> dict[str, Any]:
        """Wait until a deployment has a replica that is ready, and return that."""
        return self.cluster.wait_ready(deployment, within=WITHIN)

    def instances(self, deployment: str) -> list[dict[str, Any]]:
        """Return the instances of a deployment."""
        found: list[dict[str, Any]] = self.cluster.describe(deployment)["instances"]
        return found

    def until(self, deployment: str, state: str) -> float:
        """Wait until all instances of a deployment are in a state; return the seconds that it took."""
        began = time.monotonic()

        def there() -> bool:
            return all(each["state"] == state and not each["progress"] for each in self.instances(deployment))

        wait_for(there, within=WITHIN, what=f"{deployment} is {state}")
        return round(time.monotonic() - began, 2)

    def ask(self, model: str) -> float:
        """Ask for four words; return the seconds until the first one."""
        began = time.monotonic()
        words = filter(None, self.cluster.stream_tokens(model, 4))
        next(words)
        first = round(time.monotonic() - began, 2)
        assert len(list(words)) == 3, "not all words came"
        return first

    def used(self) -> int:
        """Return the MiB of GPU memory that are in use beyond what was before."""
        return used_mib() - self.idle

    def holds(self, engines: int, *, cache: int = CACHE) -> int:
        """Check that so many engines hold GPU memory, and return the MiB."""
        used, each = self.used(), WEIGHTS + cache
        assert engines * each <= used <= engines * (each + CONTEXT) + SLACK, (
            f"{used} MiB for {engines} engines"
        )
        return used

    def until_free(self) -> float:
        """Wait until nothing of the GPU is in use any more; return the seconds that it took."""
        began = time.monotonic()
        wait_for(lambda: self.used() <= SLACK, within=WITHIN, what="the GPU's memory is back")
        return round(time.monotonic() - began, 2)

    @contextmanager
    def highest(self) -> Iterator[Callable[[], int]]:
        """Look at the GPU all the time; what is given returns the most MiB that were seen."""
        seen, over = [self.used()], threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                seen.append(self.used())

        watching = threading.Thread(target=look)
        watching.start()
        try:
            yield lambda: max(seen)
        finally:
            over.set()
            watching.join()
