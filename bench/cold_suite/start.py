"""One start of an engine, from the request for it to its first token and on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attrs import frozen

from .cluster import Cluster, ClusterFailed
from .measures import PHASE
from .phases import LogWatch, phases

AT_ONCE = 8
"""Requests that are under way while steady speed is measured."""


@frozen
class Start:
    """What was measured of it.

    Attributes:
        ready_s: Seconds until the cluster said that it is ready.
        first_token_s: Seconds until the first token came.
        tokens_s: Tokens per second with ``AT_ONCE`` requests under way; 0 where that was not measured.
        cpu_s: Seconds of processor time that all processes of the cluster used until the first token came: it
            says more than the clock where other programs are at work beside it.
        phases: Seconds of each phase; together ``first_token_s``.
    """

    ready_s: float
    first_token_s: float
    tokens_s: float
    phases: dict[str, float]
    cpu_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return what is noted of it: see ``measures``."""
        phases = {f"{PHASE}{name}": seconds for name, seconds in self.phases.items()}
        found = {"ready_s": self.ready_s, "first_token_s": self.first_token_s, "cpu_s": self.cpu_s}
        return {**found, **({"tokens_s": self.tokens_s} if self.tokens_s else {}), **phases}


def measure_start(
    cluster: Cluster,
    document: dict[str, Any],
    phase_of: Callable[[str], str],
    *,
    steady_tokens: int,
    within: float = 600.0,
    deploy: Callable[[dict[str, Any]], str] | None = None,
) -> Start:
    """Deploy a model, and delete it when it has been measured.

    Args:
        steady_tokens: Tokens of each request that measures the steady speed; 0 for none.
        within: Seconds that the start may take.
        deploy: How; by default a request to the gateway.
    """
    with LogWatch(cluster.data_dir / "worker" / "logs") as log:
        used = cluster.cpu_seconds()
        began = time.monotonic()
        deployment = (deploy or cluster.deploy)(document)
        try:
            cluster.wait_ready(deployment, within=within)
            ready = time.monotonic()
            tokens = cluster.stream_tokens(document["model"], 2)
            if next(tokens, None) is None:
                raise ClusterFailed("the engine ended its answer without a token")
            ended = time.monotonic()
            used = cluster.cpu_seconds() - used
            list(tokens)
            speed = _steady(cluster, document["model"], steady_tokens) if steady_tokens else 0.0
        finally:
            cluster.delete(deployment)
    shares = phases(log.lines, phase_of, began=began, ready=ready, ended=ended)
    return Start(ready - began, ended - began, speed, shares, used)


def _steady(cluster: Cluster, model: str, tokens: int) -> float:
    """Return the tokens per second of several requests at once, after one that warms up."""
    list(cluster.stream_tokens(model, tokens // 4))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.monotonic()
        counts = list(pool.map(lambda _: len(list(cluster.stream_tokens(model, tokens))), range(AT_ONCE)))
        return sum(counts) / (time.monotonic() - began)
