"""What a backend is: how one kind of engine is checked, started and reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan

from .sleep import SleepTiers
from .work_metrics import WorkMetrics

PhaseOf = Callable[[str], str]
"""Returns which phase of its start an engine begins with a line of its log, or "" if it begins none."""


@frozen
class Launch:
    """How one engine life begins, and where it will answer.

    Attributes:
        address: ``unix:/path``, ``loopback:PORT`` or a URL.
        health: Paths of HTTP that answer 200 when the engine is ready; the first one that exists is used.
        plan: What to start; None where somebody else runs the server.
        phase_of: Reads the phases of the start from the engine's log; None if that does not tell.
        work: Which of its metrics show whether it makes progress; None if none do.
        tiers: How it is put to sleep; None if it cannot sleep.
        key: The bearer token that the engine asks of its clients; "" for none. An engine on a port needs one,
            since any program on the machine can connect to it.
        server: How the server of somebody else is reached; None for an engine that the worker starts.
        weights: The file or folder of weights that the engine will read, to be read ahead; None for none.
        core_died: What the health path of an engine that was ready answers when its core has died, and its
            server lingers; empty where a status says no such thing.
        concurrency: How many requests the engine runs at a time; 0 where that is not known.
        context_length: How many tokens one request may have, its answer included; 0 where that is not known.
        share_option: The option that limits which part of each GPU's memory the engine uses; "" where it has
            none, or the deployment sets it.
        share_of_free: Whether that is a part of the memory that is free as the engine starts, and for weights
            and cache only; else of all memory of the GPU.
        gpu_figures: What its model takes of each GPU by its files; None where that is not known.
    """

    address: str
    health: tuple[str, ...]
    plan: LaunchPlan | None
    phase_of: PhaseOf | None = None
    work: WorkMetrics | None = None
    tiers: SleepTiers | None = None
    key: str = field(default="", repr=False)
    server: ServerAccess | None = None
    weights: Path | None = None
    core_died: frozenset[int] = frozenset()
    concurrency: int = 0
    context_length: int = 0
    share_option: str = ""
    share_of_free: bool = False
    gpu_figures: GpuFigures | None = None

    def share_argument(self, part: float | None) -> tuple[str, ...]:
        """Return the argument for an engine that may use a part of each GPU's memory; None for all of it."""
        if part is None or not self.share_option:
            return ()
        return (f"{self.share_option}={math.floor(part * 10_000) / 10_000:.4f}",)


class Backend(Protocol):
    """One kind of engine. Both methods read the disk: call them in a thread.

    Attributes:
        name: What deployments call it: ``vllm``, ``llamacpp``, …
    """

    name: str

    def inspect(
        self, source: str, settings: Mapping[str, object], python: str, num_gpus: int
    ) -> SourceInspected:
        """Check whether this worker could serve a source with these settings; return the source's size.

        The source is checked last: for one that is not downloaded yet, the caller ignores ``SourceProblem``.

        Args:
            source: A path on the worker; a source that is not downloaded yet; or a server's URL.
            settings: The deployment's settings, by name.
            python: The interpreter that the engine would run under.
            num_gpus: How many GPUs a replica would get.

        Raises:
            LaunchProblem: It could not.
            SourceProblem: The source is missing or cannot be served by this backend.
        """

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """Decide how to start one engine life. Nothing is started.

        Args:
            order: What to serve; its source is a path on the worker, or a server's URL.
            host: What the worker's engines share.
            paths: The paths of this engine life.

        Raises:
            LaunchProblem: It cannot be started as ordered.
            SourceProblem: The source is missing or cannot be served by this backend.
        """
