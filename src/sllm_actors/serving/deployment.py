"""What a person asks for: one schema for the deploy file, the REST body and the store."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators

DEFAULT_BACKEND = "vllm"


class DeploymentProblem(ValueError):
    """The document cannot be deployed.

    Attributes:
        param: The key that is wrong, dotted from the top of the document.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@frozen(kw_only=True)
class Scaling:
    """How many replicas.

    Attributes:
        metric: What ``target`` counts; only ``concurrency`` (requests held and in flight) is known.
        target: Requests that one replica should have at once.
        min_instances: Replicas that are kept although nobody asks.
        max_instances: Replicas at the most.
        keep_alive: Seconds that an idle replica above the minimum is kept; -1: until its room is needed.
    """

    metric: str = field(default="concurrency", validator=validators.in_(("concurrency",)))
    target: int = field(default=8, validator=validators.ge(1))
    min_instances: int = field(default=0, validator=validators.ge(0))
    max_instances: int = field(default=1, validator=validators.ge(1))
    keep_alive: float = field(default=-1.0, validator=validators.ge(-1))


def _plain_name(_spec: DeploymentSpec, _attribute: Attribute[str], name: str) -> None:
    if not name.strip() or len(name) > 256 or any(ord(c) < 33 or c in "@?#\\" for c in name):
        raise ValueError("'model' must have 1 to 256 characters, no spaces and none of @ ? # \\")


def _backend_name(_spec: DeploymentSpec, _attribute: Attribute[str], name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ValueError(
            f"'backend' cannot be {name[:40]!r}: it is the name of an engine, as vllm or llamacpp"
        )


def _urls(_spec: DeploymentSpec, _attribute: Attribute[tuple[str, ...]], urls: tuple[str, ...]) -> None:
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"'endpoints' must be addresses: {url!r} is not an http:// or https:// address")


@frozen(kw_only=True)
class DeploymentSpec:
    """A model to serve, with a backend and its settings.

    Attributes:
        model: The name that clients use.
        backend: Which engine.
        source: ``hf:ID``, ``demo:NAME`` or a path; "" means that ``model`` is itself a path or a hub id.
        num_gpus: GPUs that each replica gets to itself; None lets the backend decide.
        scaling: How many replicas.
        settings: The backend's own settings; checked by the backend's schema on a worker.
        endpoints: For ``external``: the servers, one replica each.
        startup_timeout: Seconds that an engine has to become ready.
        drain_timeout: Seconds that requests in flight get when a replica is withdrawn.
        hold_limit: Requests that may wait for a replica, at each gateway.
        hold_timeout: Seconds that a request may wait.
    """

    model: str = field(validator=_plain_name)
    backend: str = field(default=DEFAULT_BACKEND, validator=_backend_name)
    source: str = field(default="", validator=validators.max_len(4096))
    num_gpus: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    scaling: Scaling = Scaling()
    settings: dict[str, Any] = field(factory=dict)
    endpoints: tuple[str, ...] = field(default=(), validator=_urls)
    startup_timeout: float = field(default=600.0, validator=validators.gt(0))
    drain_timeout: float = field(default=30.0, validator=validators.ge(0))
    hold_limit: int = field(default=1024, validator=validators.ge(0))
    hold_timeout: float = field(default=300.0, validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.backend == "external" and not self.endpoints:
            raise DeploymentProblem("an external deployment needs at least one endpoint", "endpoints")
        if self.backend != "external" and self.endpoints:
            raise DeploymentProblem(
                f"endpoints belong to the external backend, not to {self.backend}", "endpoints"
            )
        if self.scaling.min_instances > self.scaling.max_instances:
            raise DeploymentProblem(
                f"min_instances ({self.scaling.min_instances}) is more than max_instances "
                f"({self.scaling.max_instances})",
                "auto_scaling_config.min_instances",
            )

    @property
    def id(self) -> str:
        """``<model>:<backend>``."""
        return f"{self.model}:{self.backend}"

    @property
    def replicas(self) -> int:
        """How many replicas should run: one for each endpoint, else the minimum but at least one."""
        return len(self.endpoints) or max(1, self.scaling.min_instances)

    def source_of(self, number: int) -> str:
        """Return what replica ``number`` runs: the endpoint that is its turn, or the model's source."""
        if self.endpoints:
            return self.endpoints[number % len(self.endpoints)]
        if self.source:
            return self.source
        return self.model if self.model.startswith("/") else f"hf:{self.model}"

    @property
    def gpus(self) -> int:
        """GPUs that each replica takes."""
        if self.num_gpus is not None:
            return self.num_gpus
        return 1 if self.backend in ("vllm", "sglang") else 0
