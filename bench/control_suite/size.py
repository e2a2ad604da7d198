"""How large the simulated cluster is, and what is deployed in it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from attrs import evolve, frozen

GPU_SHARE = 0.75
"""The share of all GPUs that deployments take; the other deployments run without."""


@frozen
class Size:
    """A cluster.

    Attributes:
        gpus: Of each worker.
        replicas: Of all deployments together.
    """

    workers: int
    gpus: int
    deployments: int
    replicas: int
    gateways: int = 2

    def with_deployments(self, deployments: int) -> Size:
        """Return a cluster of so many deployments, with as many replicas of each and on each worker."""
        share = deployments / self.deployments
        return evolve(
            self,
            workers=max(1, round(self.workers * share)),
            deployments=deployments,
            replicas=max(deployments, round(self.replicas * share)),
        )

    def documents(self) -> Iterator[tuple[str, int]]:
        """Yield the document of each deployment, with how many replicas it wants: as evenly as they go."""
        each, more = divmod(self.replicas, self.deployments)
        with_gpus = int(GPU_SHARE * self.workers * self.gpus) // (each + 1)
        for number in range(self.deployments):
            wanted = each + (number < more)
            # Those with GPUs are spread over the whole row: any piece of it is like any other.
            gpu = number * with_gpus // self.deployments != (number + 1) * with_gpus // self.deployments
            yield (
                document(f"model-{number:05}", wanted, gpus=int(gpu or with_gpus >= self.deployments)),
                wanted,
            )


def document(model: str, replicas: int, *, gpus: int) -> str:
    """Return the document of a deployment, as JSON text."""
    return json.dumps(
        {
            "model": model,
            "backend": "llamacpp",
            "source": f"/models/{model}/model-q4_k_m.gguf",
            "num_gpus": gpus,
            "auto_scaling_config": {"min_instances": replicas, "max_instances": replicas},
            "backend_config": {"n_ctx": 8192, "n_parallel": 8},
        }
    )
