"""Where tests are that take much of the machine, and in what order files of tests are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent
CLUSTERS = {ROOT / room for room in ("bench", "e2e", "guide", "hosts", "sim")}
"""The folders whose tests wait for whole clusters, or for many simulated ones."""

ALONE_IN = ("tests/containers", "tests/guide", "tests/vllm")
"""The folders that may have tests marked ``alone``."""


def dealt_out(clusters: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    """Return both, each in its order, the clusters evenly among the first nine tenths of the others.

    Tests that compute make use of a processor that those of a cluster, which mostly wait, leave idle; and at
    the end nobody waits for the last of the long ones.
    """
    room = 0.9 * len(others) / max(1, len(clusters))
    places = [*((index * room, 0, file) for index, file in enumerate(clusters))]
    places += [(float(index), 1, file) for index, file in enumerate(others)]
    return [file for _, _, file in sorted(places, key=lambda place: place[:2])]


def of_clusters(path: Path) -> bool:
    """Say whether a file of tests is in a folder of those that wait for clusters."""
    return not CLUSTERS.isdisjoint(path.parents)
