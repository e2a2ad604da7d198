"""The figures of one play, and of several seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from attrs import asdict, frozen

from bench.harness.spread import percentile

from .cluster import Cluster
from .workload import Request


@frozen
class Outcome:
    """What came of a workload.

    Attributes:
        gpu_seconds: For how long GPUs were taken, together: from the start of a replica until its GPU is
            free again.
        wait_p50_s: Seconds from the arrival of a request until an engine began with it: the median.
        wait_p99_s: The 99th percentile.
        cold_rate: The share of requests that came while no replica of their model was ready.
        switches: How often a GPU went from one model to another.
        unanswered: How many requests were still not answered when the play was ended.
    """

    gpu_seconds: float = 0.0
    wait_p50_s: float = 0.0
    wait_p99_s: float = 0.0
    cold_rate: float = 0.0
    switches: float = 0.0
    unanswered: float = 0.0

    @classmethod
    def of(cls, requests: Sequence[Request], end: float, cluster: Cluster) -> Outcome:
        """Return the figures at the end of a play."""
        waits = sorted((end if each.begun is None else each.begun) - each.at for each in requests)
        return cls(
            gpu_seconds=cluster.close(),
            wait_p50_s=percentile(waits, 0.5) if waits else 0.0,
            wait_p99_s=percentile(waits, 0.99) if waits else 0.0,
            cold_rate=sum(each.cold for each in requests) / max(1, len(requests)),
            switches=cluster.switches,
            unanswered=sum(each.ended is None for each in requests),
        )


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the median of each figure over several seeds."""
    rows = [asdict(each) for each in outcomes]
    return Outcome(**{name: median(row[name] for row in rows) for name in rows[0]})
