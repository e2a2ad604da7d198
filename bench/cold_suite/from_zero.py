"""From nothing: a deployment of which nothing runs, and the first request for it."""

from __future__ import annotations

import time
from pathlib import Path

from attrs import asdict, frozen

from bench.harness.experiment import Experiment
from sllm_actors.engines.backends.vllm_phases import phase_of

from .bare import Bare, Program, start_bare
from .cluster import Cluster, ClusterFailed, open_cluster
from .llamacpp import DOCUMENT as LLAMACPP
from .measures import BY_HAND, FORKED, REQUEST
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


def llamacpp_from_zero(folder: Path, rounds: int, experiment: Experiment) -> None:
    """Measure requests from nothing, in turns with the same engine started by hand.

    A first request is not counted: it reads the model's file from the disk. What of a request's time is ours
    is all beyond what the engine of its round takes that is started by hand.
    """
    bares: list[Bare] = []
    with open_cluster(folder / "cluster", "--fork-servers", "none") as cluster:
        deployment = cluster.deploy({**LLAMACPP, **AT_REST})
        _, program = measure_from_zero(cluster, deployment)
        cluster.rest(deployment)

        def once(kind: str) -> dict[str, float]:
            if kind == BY_HAND:
                bares.append(start_bare(program, LLAMACPP["model"], folder / str(len(bares))))
                return asdict(bares[-1])
            zero, _ = measure_from_zero(cluster, deployment)
            cluster.rest(deployment)
            return beside_bare(zero, bares[-1])

        experiment.collect([BY_HAND, REQUEST], rounds, once, expected=ClusterFailed, rotate=False)


def vllm_from_zero(folder: Path, python: Path, rounds: int, experiment: Experiment) -> None:
    """Measure requests from nothing, in turns with starts by a deploy, both forked.

    A first one of each is not counted: the fork server learns from it.

    Args:
        folder: For the cluster's data.
        python: The Python that has vLLM.
        rounds: Counted starts of each kind.
        experiment: Gets the figures.
    """
    experiment.more["vllm"] = vllm_version(python)
    forked: list[Start] = []
    with open_cluster(
        folder / "cluster", "--engine-python", f"vllm={python}", "--fork-servers", "vllm"
    ) as cluster:
        wait_for_fork_server(cluster)
        at_rest = cluster.deploy({**VLLM, "model": f"{VLLM['model']}-at-rest", **AT_REST})

        def once(kind: str) -> dict[str, float]:
            if kind == FORKED:
                forked.append(measure_start(cluster, VLLM, phase_of, steady_tokens=0))
                return forked[-1].figures()
            zero, _ = measure_from_zero(cluster, at_rest)
            cluster.rest(at_rest)
            return beside_forked(zero, forked[-1])

        for kind in (FORKED, REQUEST):
            once(kind)
            wait_learned(cluster)
        experiment.collect([FORKED, REQUEST], rounds, once, expected=ClusterFailed, rotate=False)


def beside_bare(zero: FromZero, bare: Bare) -> dict[str, float]:
    """Return the figures of a request, with what of its time is sllm's; pure."""
    return {**asdict(zero), "ours_s": zero.first_token_s - bare.first_token_s}


def beside_forked(zero: FromZero, start: Start) -> dict[str, float]:
    """Return the figures of a request, with how many times as long it took as a start by a deploy; pure."""
    found = {**asdict(zero), "times_a_deploy": zero.first_token_s / start.first_token_s}
    del found["process_s"]  # a fork server makes its engine's folder at another moment
    return found
