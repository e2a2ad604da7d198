"""The lists of deployments, nodes and replicas: each begins behind a cursor, and is walked entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.deployment_state import spoken_for
from sllm_actors.serving.picture.fleet import WORKER
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.picture.replica import KnownReplica

from .cursors import CursorKind
from .deployments import deployment_view, instance_state, listed_instance_view
from .nodes import node_view, worker_view
from .pages import Section
from .shapes import json_text


def deployments(
    picture: Picture, now: float, after: str, *, state: str, model: str, backend: str, node: KnownNode | None
) -> Section:
    """Return the list of deployments behind the id ``after``; filters that are "" or None let all pass."""

    def passes(each: Deployment) -> bool:
        if (backend and each.spec.backend != backend) or (model and each.spec.model != model):
            return False
        return not state or spoken_for(each)[0] == state

    def text(each: Deployment) -> str:
        return json_text(deployment_view(picture, each, now, whole=False))

    if node is not None:
        entries = _deployments_on(picture, node, after)
    elif model:
        entries = _deployments_of(picture, model, after)
    else:
        entries = picture.catalogue.after(after)
    return Section("deployments", CursorKind.DEPLOYMENT, entries, lambda each: (each.id,), passes, text)


def _deployments_of(picture: Picture, model: str, after: str) -> Iterator[Deployment]:
    begin = f"{model}:"  # as the ids of the model's deployments do, and those of some other models
    for each in picture.catalogue.after(max(after, begin)):
        if not each.id.startswith(begin):
            break
        yield each


def _deployments_on(picture: Picture, node: KnownNode, after: str) -> Iterator[Deployment]:
    for name in sorted({key.deployment for key in node.replicas}):
        each = picture.catalogue.by_id.get(name)
        if name > after and each is not None:
            yield each


def nodes(picture: Picture, after: str, *, state: str, role: str) -> Section:
    """Return the list of nodes behind the node id ``after``; filters that are "" let all pass."""

    def passes(each: KnownNode) -> bool:
        return (not state or each.link == state) and (not role or each.role == role)

    def text(each: KnownNode) -> str:
        return json_text(node_view(picture, each))

    return Section("nodes", CursorKind.NODE, picture.fleet.after(after), _node_key, passes, text)


def workers(picture: Picture, after: str, *, state: str) -> Section:
    """Return the list of workers, as the guide shows them, behind the node id ``after``."""

    def passes(each: KnownNode) -> bool:
        return each.role == WORKER and (not state or each.link == state)

    def text(each: KnownNode) -> str:
        return json_text(worker_view(picture, each))

    return Section("workers", CursorKind.NODE, picture.fleet.after(after), _node_key, passes, text)


def _node_key(node: KnownNode) -> tuple[str]:
    return (node.id,)


def instances(
    picture: Picture,
    after: ReplicaKey | None,
    *,
    deployment: Deployment | None,
    node: KnownNode | None,
    state: str,
) -> Section:
    """Return the list of replicas behind the one with the key ``after``.

    On one worker they are all that it has, also those that no deployment wants.
    """

    def passes(each: KnownReplica) -> bool:
        if deployment is not None and each.key.deployment != deployment.id:
            return False
        return not state or instance_state(each) == state

    def text(each: KnownReplica) -> str:
        return json_text(listed_instance_view(picture, each))

    if node is not None:
        entries = _in_order(node.replicas.values(), after)
    elif deployment is not None:
        entries = _in_order(deployment.replicas.values(), after)
    else:
        entries = _all_instances(picture, after)
    return Section("instances", CursorKind.INSTANCE, entries, _instance_key, passes, text)


def _all_instances(picture: Picture, after: ReplicaKey | None) -> Iterator[KnownReplica]:
    known = None if after is None else picture.catalogue.by_id.get(after.deployment)
    if known is not None:
        yield from _in_order(known.replicas.values(), after)
    for each in picture.catalogue.after("" if after is None else after.deployment):
        yield from _in_order(each.replicas.values(), None)


def _in_order(replicas: Iterable[KnownReplica], after: ReplicaKey | None) -> Iterator[KnownReplica]:
    place = None if after is None else _place(after)
    for each in sorted(replicas, key=lambda each: _place(each.key)):
        if place is None or _place(each.key) > place:
            yield each


def _place(key: ReplicaKey) -> tuple[str, int, int, str]:
    return (key.deployment, key.revision, key.number, key.uid)


def _instance_key(replica: KnownReplica) -> tuple[str, ...]:
    key = replica.key
    return (key.deployment, str(key.revision), str(key.number), key.uid)
