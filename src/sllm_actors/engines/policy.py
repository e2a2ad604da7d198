"""The choices of whoever started a worker, for all of its engines."""

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
        environment: The worker's environment, which engines inherit as far as ``environment.inherited`` lets
            them.
        own_folder: The folder in which this user's nodes keep secrets, or None: a deployment's ``secret_env``
            may name no file in it.
    """

    allow_command: bool = False
    stop_budget: float = 10.0
    health: HealthPolicy = field(factory=HealthPolicy)
    environment: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    own_folder: Path | None = None
