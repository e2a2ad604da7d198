"""How large the simulated cluster is, and what is deployed in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

GPU_SHARE = 0.75
"""The share of all GPUs that deployments take; the other deployments run without."""


IDLE_SECONDS = 1
"""Seconds that a replica of a deployment is kept which is idle without requests."""


@frozen
class Size:
    """A cluster.

    Attributes:
        gpus: Of each worker.
        deployments: How many there are, with those that are idle.
        replicas: Of all deployments that are not idle together.
        idle: Deployments of which nothing runs until somebody asks for it.
    """

    workers: int
    gpus: int
    deployments: int
    replicas: int
    gateways: int = 2
    idle: int = 0

    def with_deployments(self, deployments: int) -> Size:
        """Return a cluster of so many deployments, with as many replicas of each and on each worker."""
        share = deployments / self.deployments
        return evolve(
            self,
            workers=max(1, round(self.workers * share)),
            deployments=deployments,
            replicas=max(deployments, round(self.replicas * share)),
            idle=round(self.idle * share),
        )

    def documents(self) -> Iterator[tuple[str, int]]:
        """Yield the document of each deployment, with how many replicas it wants: as evenly as they go."""
        serving = self.deployments - self.idle
        each, more = divmod(self.replicas, serving)
        with_gpus = int(GPU_SHARE * self.workers * self.gpus) // (each + 1)
        for number in range(serving):
            wanted = each + (number < more)
            # Those with GPUs are spread over the whole row: any piece of it is like any other.
            gpu = number * with_gpus // serving != (number + 1) * with_gpus // serving
            yield document(f"model-{number:05}", wanted, gpus=int(gpu or with_gpus >= serving)), wanted
        for number in range(self.idle):
            yield document(f"idle-{number:05}", 0, gpus=int(self.gpus > 0 and number % 4 == 0)), 0

    def serving_ids(self) -> list[str]:
        """Return the ids of the deployments that are not idle."""
        return [f"model-{number:05}:llamacpp" for number in range(self.deployments - self.idle)]

    def idle_ids(self) -> list[str]:
        """Return the ids of the deployments that are idle."""
        return [f"idle-{number:05}:llamacpp" for number in range(self.idle)]


def document(model: str, replicas: int, *, gpus: int) -> str:
    """Return the document of a deployment, as JSON text; with 0 replicas nothing of it runs without requests.

    Its clients may want one replica more than ``replicas``.
    """
    scaling: dict[str, Any] = {"min_instances": replicas, "max_instances": replicas + 1}
    if not replicas:
        scaling["keep_alive"] = IDLE_SECONDS
    return json.dumps(
        {
            "model": model,
            "backend": "llamacpp",
            "source": f"/models/{model}/model-q4_k_m.gguf",
            "num_gpus": gpus,
            "auto_scaling_config": scaling,
            "backend_config": {"n_ctx": 8192, "n_parallel": 8},
        }
    )
