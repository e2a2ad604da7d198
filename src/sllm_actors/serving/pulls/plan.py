"""Which source is meant by a pull, and which workers. Pure."""

from __future__ import annotations

import json

from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.hub_source import nothing_to_pull, read_hub_source
from sllm_actors.serving import answers
from sllm_actors.serving.deployment.document import read_document
from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DEFAULT_BACKEND, DeploymentSpec
from sllm_actors.serving.find_node import find_node
from sllm_actors.serving.messages import Refusal, RefusalKind
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.fleet import WORKER, Fleet
from sllm_actors.serving.picture.missing import waiting_revision
from sllm_actors.serving.picture.node import KnownNode, Link
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.room.need import need_of

from .messages import PlanPull, PullPlace, PullPlan

MOST_WORKERS = 256
"""The most workers of one pull."""


def plan_pull(picture: Picture, asked: PlanPull) -> PullPlan | Refusal:
    """Return which source is meant, and which workers; or why that cannot be said."""
    deployment = _deployed(picture, asked)
    if isinstance(deployment, Refusal):
        return deployment
    backend = (asked.backend or DEFAULT_BACKEND) if deployment is None else deployment.spec.backend
    if why := nothing_to_pull(backend):
        return Refusal(RefusalKind.INVALID, "invalid_request", why, "backend")
    spec = _undeployed(asked) if deployment is None else waiting_revision(deployment).spec
    if isinstance(spec, Refusal):
        return spec
    source = spec.source_of(0)
    try:
        read_hub_source(source)
    except SourceProblem as problem:
        return Refusal(RefusalKind.INVALID, "invalid_request", str(problem), "source")
    workers = _workers(picture.fleet, asked, spec, deployment)
    if isinstance(workers, Refusal):
        return workers
    places = sorted(
        (PullPlace(node.id, node.name or node.id) for node in workers), key=lambda each: each.name
    )
    return PullPlan(spec.backend, source, tuple(places))


def _deployed(picture: Picture, asked: PlanPull) -> Deployment | Refusal | None:
    """Return the deployment that is meant; None if it is another source, or there is none of that name."""
    if asked.source:
        return None
    found = [picture.catalogue.by_id[each] for each in picture.catalogue.meant(asked.model)]
    found = [each for each in found if asked.backend in ("", each.spec.backend)]
    if len(found) > 1:
        sentence = f"{asked.model} is deployed more than once: name one of {', '.join(e.id for e in found)}"
        return Refusal(RefusalKind.CONFLICT, "model_ambiguous", sentence, "model")
    return found[0] if found else None


def _undeployed(asked: PlanPull) -> DeploymentSpec | Refusal:
    given = {"model": asked.model, "backend": asked.backend, "source": asked.source}
    try:
        spec, _ = read_document(json.dumps({name: value for name, value in given.items() if value}))
    except DeploymentProblem as problem:
        return answers.invalid(problem)
    return spec


def _workers(
    fleet: Fleet, asked: PlanPull, spec: DeploymentSpec, deployment: Deployment | None
) -> list[KnownNode] | Refusal:
    if asked.everywhere:
        found: list[KnownNode] | Refusal = list(fleet.workers_up.values())
    elif asked.workers:
        found = _named(fleet, asked.workers)
    else:
        found = _usual(fleet, spec, deployment)
    if isinstance(found, Refusal):
        return found
    if not found:
        sentence = "no worker is connected: start one with `sllm worker --head HOST:8000`"
        return Refusal(RefusalKind.UNAVAILABLE, "worker_unavailable", sentence, retry_after=1.0)
    if len(found) > MOST_WORKERS:
        sentence = f"these are {len(found)} workers: name at most {MOST_WORKERS} at a time"
        return Refusal(RefusalKind.INVALID, "invalid_request", sentence, "workers")
    return found


def _named(fleet: Fleet, wanted: tuple[str, ...]) -> list[KnownNode] | Refusal:
    names = {node.id: node.name or node.id for node in fleet.nodes.values() if node.role == WORKER}
    found: dict[str, KnownNode] = {}
    for each in wanted:
        node = find_node(names, each)
        if isinstance(node, Refusal):
            return node
        found[node] = fleet.nodes[node]
        if found[node].link is not Link.UP:
            why = found[node].reason or "it has not been linked since the head started"
            sentence = f"worker {each} is {found[node].link.value}: {why}"
            return Refusal(RefusalKind.UNAVAILABLE, "worker_unavailable", sentence, retry_after=1.0)
    return list(found.values())


def _usual(fleet: Fleet, spec: DeploymentSpec, deployment: Deployment | None) -> list[KnownNode]:
    """Return the workers that run a deployment, or else the one that a replica would be placed on."""
    replicas = () if deployment is None else deployment.running()
    nodes = {each.node: fleet.workers_up[each.node] for each in replicas if each.node in fleet.workers_up}
    if nodes:
        return list(nodes.values())

    def fits(node: str) -> bool:
        return not fleet.nodes[node].lacks_label(spec.node_selector)

    best = fleet.room.best(need_of(spec, 1), need_of(spec, 0), {}, fits)
    first = best or next(filter(fits, fleet.workers_up), None) or next(iter(fleet.workers_up), None)
    return [] if first is None else [fleet.nodes[first]]
