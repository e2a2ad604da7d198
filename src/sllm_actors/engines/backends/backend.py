"""What a backend is: how one kind of engine is checked, started and reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ReplicaOrder, SourceInspected
from sllm_actors.engines.plan import EnginePaths, LaunchPlan

from .sleep import SleepTiers
from .work_metrics import WorkMetrics

PhaseOf = Callable[[str], str]
"""Says what a line of the log means: what the engine begins now, or "" when it does not tell."""


@frozen
class Launch:
    """How one engine life begins, and where it will answer.

    Attributes:
        address: ``unix:/path``, ``loopback:PORT`` or a URL.
        health: Paths that answer 200 when it is ready, the first one that exists counts.
        plan: What to start; None where somebody else runs the server.
        phase_of: What a line of its log says about its start; None: its log tells nothing.
        work: Where its metrics tell whether it gets on; None: they do not.
        tiers: How it is put to sleep; None: it cannot be.
        key: What it wants to be shown; needed where anybody on the machine could reach it.
        server: How the server is reached that somebody else runs; None for an engine of ours.
        weights: The file or folder of weights that it is going to read; None: it reads none here.
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


class Backend(Protocol):
    """One kind of engine. Both methods read the disk: call them in a thread."""

    name: str

    def inspect(
        self, source: str, settings: Mapping[str, object], python: str, num_gpus: int
    ) -> SourceInspected:
        """Say whether a source with these settings could be served here, by a replica with so many GPUs.

        What is wrong with the source comes last: it may be a name of what has not been brought yet.

        Args:
            python: The interpreter of its engine.

        Raises:
            LaunchProblem: It could not.
        """

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        """Decide how to start one engine life.

        Raises:
            LaunchProblem: It cannot be started as ordered.
        """
