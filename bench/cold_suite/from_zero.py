"""From nothing: a deployment of which nothing runs, and the first request for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen

from sllm_actors.engines.backends.vllm_phases import phase_of

from .bare import Bare, Program, start_bare
from .cluster import Cluster, ClusterFailed, open_cluster
from .llamacpp import DOCUMENT as LLAMACPP
from .start import Start, measure_start
from .vllm import DOCUMENT as VLLM
from .vllm import vllm_version, wait_for_fork_server, wait_learned

AT_REST = {"auto_scaling_config": {"min_instances": 0}}
"""Nothing of such a deployment runs until somebody asks for it."""


@frozen
class FromZero:
    """What was measured of one request for a deployment of which nothing ran. Seconds are from its sending.

    Attributes:
        first_token_s: Until its first token came.
        process_s: Until the engine's process was started: its folder for temporary files is made just before.
        ready_s: Until the worker knew that the engine is ready.
        cpu_s: Seconds of processor time that all processes of the cluster used until the first token came.
    """

    first_token_s: float
    process_s: float
    ready_s: float
    cpu_s: float


def measure_from_zero(cluster: Cluster, deployment: str) -> tuple[FromZero, Program]:
    """Ask for a model of which nothing runs; return what was measured, and the engine that answered.

    Raises:
        ClusterFailed: Something of it runs, or no token came.
    """
    described = cluster.describe(deployment)
    if described["instances"]:
        raise ClusterFailed(f"{deployment} does not rest")
    used = cluster.cpu_seconds()
    wall, began = time.time(), time.monotonic()
    tokens = cluster.stream_tokens(described["model"], 2)
    if next(tokens, None) is None:
        raise ClusterFailed("the engine ended its answer without a token")
    ended = time.monotonic()
    used = cluster.cpu_seconds() - used
    list(tokens)
    (instance,) = cluster.describe(deployment)["instances"]
    program = Program.of(cluster, instance["address"])
    made = Path(program.tmpdir).stat().st_ctime
    return FromZero(ended - began, made - wall, instance["since"] - wall, used), program


def llamacpp_from_zero(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of requests from nothing, in turns with the same engine started by hand.

    A first request is not counted: it reads the model's file from the disk.
    """
    zeros, bares = [], []
    with open_cluster(folder / "cluster", "--fork-servers", "none") as cluster:
        deployment = cluster.deploy({**LLAMACPP, **AT_REST})
        _, program = measure_from_zero(cluster, deployment)
        cluster.rest(deployment)
        for number in range(1, rounds + 1):
            bares.append(start_bare(program, LLAMACPP["model"], folder / str(number)))
            zeros.append(measure_from_zero(cluster, deployment)[0])
            cluster.rest(deployment)
            say(f"{number}: {zeros[-1].first_token_s:.3f} s, by hand {bares[-1].first_token_s:.3f} s")
    return {"backend": "llamacpp", "from_zero": beside_bare(zeros, bares)}


def vllm_from_zero(
    folder: Path,
    python: Path,
    rounds: int,
    say: Callable[[str], None],
    document: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the figures of requests from nothing, in turns with starts by a deploy, both forked.

    A first one of each is not counted: the fork server learns from it.

    Args:
        folder: For the cluster's data.
        python: The Python that has vLLM.
        rounds: Counted starts of each kind.
        say: Told each figure when it is there.
        document: What is deployed; by default as ``measure_vllm`` has it.
    """
    document = document or VLLM
    zeros, forked = [], []
    with open_cluster(
        folder / "cluster", "--engine-python", f"vllm={python}", "--fork-servers", "vllm"
    ) as cluster:
        wait_for_fork_server(cluster)
        at_rest = cluster.deploy({**document, "model": f"{document['model']}-at-rest", **AT_REST})
        for number in range(rounds + 1):
            start = measure_start(cluster, document, phase_of, steady_tokens=0)
            if not number:
                wait_learned(cluster)
            zero, _ = measure_from_zero(cluster, at_rest)
            cluster.rest(at_rest)
            if number:
                forked.append(start)
                zeros.append(zero)
                say(f"{number}: {zero.first_token_s:.2f} s, by a deploy {start.first_token_s:.2f} s")
            else:
                wait_learned(cluster)
    return {"backend": "vllm", "vllm": vllm_version(python), "from_zero": beside_forked(zeros, forked)}


def beside_bare(zeros: Sequence[FromZero], bares: Sequence[Bare]) -> dict[str, Any]:
    """Return what of each request's time is sllm's: all beyond what the engine takes that is started by hand.

    Pure. Each request is compared with the engine of its round; ``ours_s`` is the median of the differences.
    """
    ours = [zero.first_token_s - bare.first_token_s for zero, bare in zip(zeros, bares, strict=True)]
    return {
        **_lists(zeros, "process_s", "ready_s", "first_token_s", "cpu_s"),
        **_lists(bares, "ready_s", "first_token_s", prefix="bare_"),
        "median_s": round(median(zero.first_token_s for zero in zeros), 3),
        "ours_s": round(median(ours), 4),
    }


def beside_forked(zeros: Sequence[FromZero], forked: Sequence[Start]) -> dict[str, Any]:
    """Return how many times as long requests from nothing took as the starts by a deploy.

    Pure. Each is compared with the start of its round; ``ratio`` is the median of the quotients.
    """
    ratios = [zero.first_token_s / start.first_token_s for zero, start in zip(zeros, forked, strict=True)]
    return {
        **_lists(zeros, "ready_s", "first_token_s", "cpu_s"),
        **_lists(forked, "ready_s", "first_token_s", "cpu_s", prefix="forked_"),
        "median_s": round(median(zero.first_token_s for zero in zeros), 3),
        "ratio": round(median(ratios), 3),
    }


def _lists(measured: Sequence[object], *names: str, prefix: str = "") -> dict[str, list[float]]:
    return {f"{prefix}{name}": [round(getattr(each, name), 4) for each in measured] for name in names}
