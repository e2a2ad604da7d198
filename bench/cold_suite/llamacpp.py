"""llama.cpp, which needs no fork server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from .cluster import open_cluster
from .start import Start, measure_start

DOCUMENT = {"model": "smollm2-135m", "backend": "llamacpp", "source": "demo:smollm2-135m"}


def measure_llamacpp(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures; time runs from the start of the command ``sllm deploy``.

    A first start is not counted: it reads the model's file from the disk.

    Args:
        folder: For the cluster's data.
        rounds: Counted starts.
        say: Told each figure when it is there.
    """
    with open_cluster(folder, "--fork-servers", "none") as cluster:

        def start() -> Start:
            return measure_start(
                cluster, DOCUMENT, lambda _: "", steady_tokens=0, deploy=cluster.deploy_by_command
            )

        first = start()
        starts = []
        for number in range(1, rounds + 1):
            starts.append(start())
            say(f"{number}: {starts[-1].first_token_s:.2f} s")
    return {
        "backend": "llamacpp",
        "plain_s": [round(each.first_token_s, 3) for each in starts],
        "median_s": round(median(each.first_token_s for each in starts), 3),
        "ready_s": [round(each.ready_s, 3) for each in starts],
        "first": {"plain_s": round(first.first_token_s, 3)},
    }
