"""llama.cpp, which needs no fork server."""

from __future__ import annotations

from pathlib import Path

from bench.harness.experiment import Experiment

from .cluster import ClusterFailed, open_cluster
from .measures import PLAIN
from .start import Start, measure_start

DOCUMENT = {"model": "smollm2-135m", "backend": "llamacpp", "source": "demo:smollm2-135m"}


def measure_llamacpp(folder: Path, rounds: int, experiment: Experiment) -> None:
    """Measure starts; time runs from the start of the command ``sllm deploy``.

    A first start is not counted: it reads the model's file from the disk.

    Args:
        folder: For the cluster's data.
        rounds: Counted starts.
        experiment: Gets the figures.
    """
    with open_cluster(folder, "--fork-servers", "none") as cluster:

        def start() -> Start:
            return measure_start(
                cluster, DOCUMENT, lambda _: "", steady_tokens=0, deploy=cluster.deploy_by_command
            )

        experiment.more["first"] = {PLAIN: start().figures()}

        def once(_: str) -> dict[str, float]:
            found = start().figures()
            return {name: value for name, value in found.items() if name in ("ready_s", "first_token_s")}

        experiment.collect([PLAIN], rounds, once, expected=ClusterFailed)
