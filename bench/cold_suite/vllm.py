"""vLLM, started plainly, first of all on a fresh worker, and from a fork server that has learned, in turn."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

from bench.harness.experiment import Experiment
from sllm_actors.engines.backends.vllm_phases import phase_of
from sllm_actors.engines.installs.interpreters import find_installed

from .cluster import Cluster, ClusterFailed, open_cluster, wait_for
from .measures import FORKED, FRESH, PLAIN
from .start import Start, measure_start

STEADY_TOKENS = 100
KINDS = (PLAIN, FRESH, FORKED)
"""Started plainly; deployed right after the start of a fresh worker, whose fork server is not there yet;
forked from one that has learned."""

QUIET = 8.0
"""Seconds in which the server learns nothing more, after which it knows all."""

DOCUMENT = {
    "model": "smol",
    "backend": "vllm",
    "source": "demo:smollm2-135m",
    "backend_config": {"max_model_len": 1024, "cpu_kv_cache_gib": 1},
}


def measure_vllm(
    folder: Path,
    python: Path,
    rounds: int,
    experiment: Experiment,
    document: dict[str, Any] | None = None,
) -> None:
    """Measure three kinds of start, in turn: see ``KINDS``.

    A first start of the plain and the forked kind is not counted: it makes the model's files and vLLM's
    caches. A fresh worker has no such caches.

    Args:
        folder: For the data of the clusters; they share the model's files.
        python: The Python that has vLLM.
        rounds: Counted starts of each kind.
        experiment: Gets the figures.
        document: What is deployed; by default the demo model with a GiB of attention state on the CPU.
    """
    document = document or DOCUMENT
    shared = ("--engine-python", f"vllm={python}", "--storage-path", str(folder / "models"))
    experiment.more["vllm"] = vllm_version(python)
    numbers = count(1)
    with (
        open_cluster(folder / "plain", *shared, "--fork-servers", "none") as cold,
        open_cluster(folder / "forked", *shared, "--fork-servers", "vllm") as warm,
    ):
        first = _start(cold, document)
        wait_for_fork_server(warm)
        learning = _start(warm, document)
        wait_learned(warm)
        experiment.more["first"] = {PLAIN: first.figures(), FORKED: learning.figures()}

        def once(kind: str) -> dict[str, float]:
            if kind == FRESH:
                place = folder / f"fresh{next(numbers)}"
                with open_cluster(place, *shared, "--fork-servers", "vllm") as fresh:
                    return _start(fresh, document).figures()
            start = _start(cold if kind == PLAIN else warm, document)
            if kind == FORKED:
                wait_learned(warm)
            return start.figures()

        experiment.collect(KINDS, rounds, once, expected=ClusterFailed, rotate=False)
        server = warm.warm("vllm")
        experiment.more["server"] = {"memory": server["memory"], "modules": server["modules"]}


def _start(cluster: Cluster, document: dict[str, Any]) -> Start:
    return measure_start(cluster, document, phase_of, steady_tokens=STEADY_TOKENS)


def wait_for_fork_server(cluster: Cluster) -> dict[str, Any]:
    """Wait until the worker's fork server is ready; return what is told of it."""

    def ready() -> dict[str, Any] | None:
        report = cluster.warm("vllm")
        if report.get("state") == "failed":
            raise ClusterFailed(f"there is no fork server: {report['reason']}")
        return report if report.get("state") == "ready" else None

    return wait_for(ready, within=180, what="the fork server is ready")


def wait_learned(cluster: Cluster) -> None:
    """Wait until the server knows what the last engine imported late."""
    modules, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET:
        report = wait_for_fork_server(cluster)
        if report["modules"] != modules:
            modules, since = report["modules"], time.monotonic()
        time.sleep(0.5)


def vllm_version(python: Path) -> str:
    """Return the version of the vLLM of an interpreter."""
    installed = find_installed(str(python), "vllm")
    return installed.version if installed is not None else ""
