"""Our policy, with what a person can set."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.trace_suite.cluster import Cluster, Replica
from bench.trace_suite.workload import Request
from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.spec import DeploymentSpec

from .gateway import Gateway
from .head import Head
from .workers import Workers


class Ours:
    """The policy of this project, with every model deployed.

    Args:
        cluster: What it acts on.
        _requests: Those to come, at which it does not look.
        scaling: Further keys of ``auto_scaling_config`` in every deployment's document.
    """

    def __init__(self, cluster: Cluster, _requests: Sequence[Request], **scaling: float) -> None:
        specs = [_spec(model.name, cluster, scaling) for model in cluster.models]
        names = [spec.id for spec in specs]
        self._head = head = Head(cluster.clock, lambda *order: self._workers.obey(*order))
        self._gateway = Gateway(cluster, names, head.take)
        self._workers = Workers(
            cluster,
            {name: index for index, name in enumerate(names)},
            head.take,
            self._gateway.add,
            self._gateway.withdraw,
        )
        self._workers.link()
        self._gateway.link()
        for index, spec in enumerate(specs):
            head.deploy(spec, f"uid-{index}")

    def arrived(self, request: Request) -> None:
        """Let the gateway have it."""
        self._gateway.arrived(request)

    def ready(self, replica: Replica) -> None:
        """Let its worker know."""
        self._workers.ready(replica)

    def ended(self, replica: Replica, request: Request) -> None:
        """Let its worker and the gateway know."""
        self._workers.ended(replica)
        self._gateway.ended(request)

    def gone(self, replica: Replica) -> None:
        """Let its worker know."""
        self._workers.gone(replica)


def _spec(name: str, cluster: Cluster, scaling: dict[str, float]) -> DeploymentSpec:
    profile = cluster.profile
    counts = {"target": profile.target, "min_instances": 0, "max_instances": profile.max_replicas}
    document = {
        "model": name,
        "backend": "vllm",
        "num_gpus": 1,
        "max_concurrency": profile.target,
        "auto_scaling_config": counts | scaling,
    }
    spec, _ = read_document(json.dumps(document))
    return spec
