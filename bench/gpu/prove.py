"""What is promised of GPUs, on a real one: ``python bench/gpu/prove.py [--python PATH] [--json FILE]``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.cold_suite.cluster import Cluster, ClusterFailed, open_cluster, wait_for
from bench.gpu.memory import NoGpu, used_mib
from bench.harness.machine import machine_facts
from bench.harness.results import write
from sllm_actors.testing.fake_engine import PROGRAM

WEIGHTS, CACHE = 4096, 2048
"""MiB of the engines here."""

CONTEXT = 1200
"""MiB at most that CUDA takes for itself in each process."""

WITHIN = 120.0
ENGINE = Path(__file__).with_name("engine.py")

Found = dict[str, Any]


@click.command()
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=Path(sys.executable),
    help="The Python that has PyTorch for CUDA.  [default: this one]",
)
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
def main(python: Path, file: Path | None) -> None:
    """Let engines with real GPU memory start, share, sleep, make room and die, and look at the GPU meanwhile.

    Each part is tried, whatever has become of those before it. The exit status is 1 if one has failed.
    """
    try:
        idle = used_mib()
    except NoGpu as problem:
        raise click.ClickException(str(problem)) from None
    results: dict[str, Found] = {}
    for name, part in PARTS.items():
        with tempfile.TemporaryDirectory(prefix="sllm-gpu-") as folder:
            began = time.monotonic()
            try:
                with open_cluster(Path(folder) / "cluster", "--allow-command") as cluster:
                    results[name] = {"holds": True, **part(Lab(cluster, python.absolute(), idle))}
            except (ClusterFailed, AssertionError) as failure:
                results[name] = {"holds": False, "why": str(failure)[:2000]}
            results[name]["took_s"] = round(time.monotonic() - began, 1)
            click.echo(f"  {name}: {results[name]}", err=True)
    content = {
        "version": 1,
        "benchmark": "gpu_proofs",
        "machine": machine_facts(("sllm-actors",)),
        "weights_mib": WEIGHTS,
        "cache_mib": CACHE,
        "idle_mib": idle,
        "parts": results,
    }
    if file is not None:
        write(file, content)
    failed = [name for name, found in results.items() if not found["holds"]]
    if failed:
        raise click.ClickException(f"it does not hold: {', '.join(failed)}")


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
        words = self.cluster.stream_tokens(model, 4)
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
        assert engines * each <= used <= engines * (each + CONTEXT) + 64, f"{used} MiB for {engines} engines"
        return used

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


def inventory(lab: Lab) -> Found:
    """The worker tells what GPUs it has, and the memory that an engine was seen to have."""
    node = next(each for each in lab.cluster.nodes() if each["role"] == "worker")
    assert node["gpus"], "the worker says that it has no GPU"
    deployment = lab.deploy("one", auto_scaling_config={"min_instances": 1})
    lab.ready(deployment)
    return {"gpus": node["gpus"], "used_mib": lab.holds(1)}


def freed_before_the_next_start(lab: Lab) -> Found:
    """An engine that is killed is started again, and its memory is back before."""
    deployment = lab.deploy("one")
    pid = lab.ready(deployment)["pid"]
    with lab.highest() as highest:
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.ready(deployment)["pid"] != pid, within=WITHIN, what="it runs again")
        back = round(time.monotonic() - began, 2)
        most = highest()
    assert most <= WEIGHTS + CACHE + CONTEXT + 64, f"{most} MiB: two lives at a time"
    lab.holds(1)
    return {"back_s": back, "most_mib": most}


def locks(lab: Lab) -> Found:
    """A whole GPU has one engine: the next one waits, and says for what."""
    lab.ready(lab.deploy("one", pinned=True))
    waiting = lab.deploy("two")
    time.sleep(3.0)
    described = lab.cluster.describe(waiting)
    assert described["state"] == "pending", described["state"]
    lab.holds(1)
    return {"detail": described["detail"]}


def two_on_one_gpu(lab: Lab) -> Found:
    """Two replicas share a GPU by the memory that they declare."""
    scaling = {"min_instances": 2, "max_instances": 2}
    share = (WEIGHTS + CACHE + CONTEXT) * 2**20
    deployment = lab.deploy("pair", gpu_memory=share, auto_scaling_config=scaling)
    wait_for(lambda: len(lab.instances(deployment)) == 2, within=WITHIN, what="there are two")
    lab.until(deployment, "ready")
    lab.ask("pair")
    return {"used_mib": lab.holds(2)}


def sleep(lab: Lab) -> Found:
    """An idle replica sleeps by itself, gives the GPU's memory back, and is woken by the next request."""
    found: Found = {}
    for level in (1, 2):
        scaling = {"keep_alive": 1, "sleep_level": level}
        deployment = lab.deploy(f"level{level}", auto_scaling_config=scaling)
        lab.ready(deployment)
        lab.ask(f"level{level}")
        lab.until(deployment, "asleep")
        asleep = lab.used()
        assert asleep <= CONTEXT, f"{asleep} MiB of an engine that sleeps"
        woken = lab.ask(f"level{level}")
        found[str(level)] = {"asleep_mib": asleep, "first_word_s": woken, "awake_mib": lab.holds(1)}
        lab.cluster.delete(deployment)
    return found


def eviction(lab: Lab) -> Found:
    """Two models that want the whole GPU take turns; only one has its memory at a time."""
    lab.ready(lab.deploy("one"))
    lab.deploy("two", auto_scaling_config={"min_instances": 0})
    with lab.highest() as highest:
        waits = [lab.ask(model) for model in ("two", "one", "two", "one")]
        most = highest()
    assert most <= WEIGHTS + CACHE + 2 * CONTEXT + 64, f"{most} MiB: both had their memory"
    return {"first_word_s": waits, "most_mib": most}


PARTS: dict[str, Callable[[Lab], Found]] = {
    "inventory": inventory,
    "freed_before_the_next_start": freed_before_the_next_start,
    "locks": locks,
    "two_on_one_gpu": two_on_one_gpu,
    "sleep": sleep,
    "eviction": eviction,
}


if __name__ == "__main__":
    main()
