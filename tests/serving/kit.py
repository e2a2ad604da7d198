"""Short ways to write what tests of this folder are about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
from attrs import asdict

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling
from sllm_actors.serving.messages import ControlAnswer, Gpu, Inventory, Refusal


def spec(model: str = "m", *, replicas: int = 1, gpus: int = 0, **more: Any) -> DeploymentSpec:
    """Return a spec that wants so many replicas."""
    scaling = Scaling(min_instances=replicas, max_instances=max(1, replicas))
    return DeploymentSpec(
        **{"model": model, "backend": "llamacpp", "num_gpus": gpus, "scaling": scaling, **more}
    )


def key(number: int, model: str = "m", revision: int = 1, backend: str = "llamacpp") -> ReplicaKey:
    return ReplicaKey(f"{model}:{backend}", revision, number)


def report(place: ReplicaKey, state: ReplicaState = ReplicaState.READY, **more: Any) -> ReplicaReport:
    return ReplicaReport(place.attempt(1), state, **more)


def inventory(gpus: int = 0, **more: Any) -> Inventory:
    return Inventory(gpus=tuple(Gpu(f"gpu{n}") for n in range(gpus)), **more)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that no message tells of."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.001)


def outcome_of(answer: ControlAnswer) -> tuple[str, dict[str, Any]]:
    """Return an answer as a word ("done", "pending", or the kind of a refusal) and what it carries."""
    if isinstance(answer, Refusal):
        return answer.kind.value, asdict(answer)
    return "pending" if answer.pending else "done", json.loads(answer.document)
