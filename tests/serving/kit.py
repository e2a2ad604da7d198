"""Short ways to write what tests of this folder are about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
from attrs import asdict, evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.decisions.reconcile import Deployment, Plan, Worker, reconcile
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling
from sllm_actors.serving.messages import ControlAnswer, Gpu, Inventory, Refusal

NODES = ("w1", "w2", "w3")


def spec(model: str = "m", *, replicas: int = 1, gpus: int = 0, **more: Any) -> DeploymentSpec:
    """Return a spec that wants so many replicas."""
    scaling = Scaling(min_instances=replicas, max_instances=max(1, replicas))
    return DeploymentSpec(
        **{"model": model, "backend": "llamacpp", "num_gpus": gpus, "scaling": scaling, **more}
    )


def deployment(model: str = "m", *, replicas: int = 1, gpus: int = 0, **more: Any) -> Deployment:
    """Return a deployment that every worker could run."""
    names = ("deleting", "next_number", "unfit", "revision", "wait")
    fields = {name: more.pop(name) for name in names if name in more}
    made = Deployment(
        spec(model, replicas=replicas, gpus=gpus, **more), revision=1, unfit=dict.fromkeys(NODES, "")
    )
    return evolve(made, **fields)


def key(number: int, model: str = "m", revision: int = 1, backend: str = "llamacpp") -> ReplicaKey:
    return ReplicaKey(f"{model}:{backend}", revision, number)


def report(place: ReplicaKey, state: ReplicaState = ReplicaState.READY, **more: Any) -> ReplicaReport:
    return ReplicaReport(place.attempt(1), state, **more)


def inventory(gpus: int = 0, **more: Any) -> Inventory:
    return Inventory(gpus=tuple(Gpu(f"gpu{n}") for n in range(gpus)), **more)


def worker(node: str, *replicas: ReplicaReport, gpus: int = 0) -> Worker:
    return Worker(node, inventory(gpus), {each.id.key: each for each in replicas})


def plan(
    deployments: list[Deployment], workers: list[Worker], placements: dict[ReplicaKey, str] | None = None
) -> Plan:
    """Reconcile, and check that the plan follows from itself."""
    by_id = {each.spec.id: each for each in deployments}
    by_node = {each.node: each for each in workers}
    made = reconcile(by_id, by_node, placements or {})
    after = {
        name: evolve(each, next_number=made.next_numbers.get(name, each.next_number))
        for name, each in by_id.items()
    }
    again = reconcile(after, by_node, made.placements)
    assert (again.placements, again.orders, again.gone) == (made.placements, made.orders, made.gone)
    assert again.next_numbers == {}
    return made


def ordered(made: Plan) -> dict[str, list[ReplicaKey]]:
    """Return what each worker is to run."""
    return {node: [order.key for order in orders] for node, orders in made.orders.items()}


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that no message tells of."""
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.001)


def outcome_of(answer: ControlAnswer) -> tuple[str, dict[str, Any]]:
    """Return an answer as a word ("done", "pending", or the kind of a refusal) and what it carries."""
    if isinstance(answer, Refusal):
        return answer.kind.value, asdict(answer)
    return "pending" if answer.pending else "done", json.loads(answer.document)
