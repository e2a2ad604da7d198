"""What the person who started a worker has chosen for all of its engines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from .health_policy import HealthPolicy


@frozen
class EnginePolicy:
    """How every engine of a worker is started, watched and stopped.

    Attributes:
        allow_command: Whether deployments may name the program that is run.
        stop_budget: Seconds between SIGTERM and SIGKILL when an engine is ended.
        health: How engines are watched.
        environment: What engines inherit, once secrets are taken out.
        own_folder: Where this user's nodes keep what is secret, if anywhere: no file in it is given to an
            engine.
    """

    allow_command: bool = False
    stop_budget: float = 10.0
    health: HealthPolicy = field(factory=HealthPolicy)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    own_folder: Path | None = None
