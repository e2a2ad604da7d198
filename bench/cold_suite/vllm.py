"""vLLM, started plainly, first of all on a fresh worker, and from a fork server that has learned, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sllm_actors.engines.backends.vllm_phases import phase_of
from sllm_actors.engines.installs.interpreters import find_installed

from .cluster import Cluster, ClusterFailed, open_cluster, wait_for
from .start import Start, measure_start

STEADY_TOKENS = 100
KINDS = ("plain", "fresh", "forked")
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
    say: Callable[[str], None],
    document: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the figures of three kinds of start, in turn: see ``KINDS``.

    A first start of the plain and the forked kind is not counted: it makes the model's files and vLLM's
    caches. A fresh worker has no such caches.

    Args:
        folder: For the data of the clusters; they share the model's files.
        python: The Python that has vLLM.
        rounds: Counted starts of each kind.
        say: Told each figure when it is there.
        document: What is deployed; by default the demo model with a GiB of attention state on the CPU.
    """
    document = document or DOCUMENT
    shared = ("--engine-python", f"vllm={python}", "--storage-path", str(folder / "models"))
    starts: dict[str, list[Start]] = {kind: [] for kind in KINDS}

    def count(kind: str, start: Start) -> None:
        starts[kind].append(start)
        say(f"{kind} {len(starts[kind])}: {start.first_token_s:.2f} s, {start.cpu_s:.1f} s of processor time")

    with (
        open_cluster(folder / "plain", *shared, "--fork-servers", "none") as cold,
        open_cluster(folder / "forked", *shared, "--fork-servers", "vllm") as warm,
    ):
        first = _start(cold, document)
        say(f"plain, the first: {first.first_token_s:.1f} s")
        wait_for_fork_server(warm)
        learning = _start(warm, document)
        say(f"forked, the first: {learning.first_token_s:.1f} s")
        wait_learned(warm)
        for number in range(1, rounds + 1):
            count("plain", _start(cold, document))
            with open_cluster(folder / f"fresh{number}", *shared, "--fork-servers", "vllm") as fresh:
                count("fresh", _start(fresh, document))
            count("forked", _start(warm, document))
            wait_learned(warm)
        server = warm.warm("vllm")
    return {
        "backend": "vllm",
        "vllm": vllm_version(python),
        **summary(starts),
        "first": {"plain_s": round(first.first_token_s, 3), "forked_s": round(learning.first_token_s, 3)},
        "server": {"memory": server["memory"], "modules": server["modules"]},
    }


def summary(starts: Mapping[str, Sequence[Start]]) -> dict[str, Any]:
    """Return the figures of the starts of each kind, as a result file has them; pure."""
    seconds = {kind: [round(start.first_token_s, 3) for start in found] for kind, found in starts.items()}
    plain = median(seconds["plain"])
    return {
        **{f"{kind}_s": found for kind, found in seconds.items()},
        "ratio": round(plain / median(seconds["forked"]), 2),
        "fresh_share": round(median(seconds["fresh"]) / plain, 3),
        "cpu_s": {kind: [round(start.cpu_s, 2) for start in found] for kind, found in starts.items()},
        "phases": {kind: typical(found) for kind, found in starts.items()},
        "tokens_s": {kind: [round(start.tokens_s, 1) for start in found] for kind, found in starts.items()},
    }


def typical(starts: Sequence[Start]) -> dict[str, float]:
    """Return the median seconds of each phase, in the order of the first start."""
    names = dict.fromkeys(name for start in starts for name in start.phases)
    return {name: round(median(start.phases.get(name, 0.0) for start in starts), 3) for name in names}


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
