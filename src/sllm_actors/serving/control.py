"""What people ask of the head: how it changes the store and the picture, and the answer. Pure.

Each function returns the answer at once, if nothing is to be changed, or a ``Change``: it is written to the
store first, then the picture takes its events, and then the answer is given.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from attrs import evolve, frozen

from . import answers
from .deployment.changes import differing_keys, is_engine_change, with_policy
from .deployment.spec import DeploymentSpec
from .find_node import find_node
from .messages import ControlAnswer, Refusal
from .picture.deployment import NUMBERS, Deployment, begins_idle, loses_first_load, revision_record
from .picture.events import (
    DeletionAsked,
    DeploymentAdded,
    DrainSet,
    Event,
    NodeRemoved,
    PolicyChanged,
    RevisionAdded,
    RolloutPaused,
    RolloutResumed,
)
from .picture.fleet import GRACE, WORKER
from .picture.node import KnownNode, Link
from .picture.picture import Picture
from .store.records import DeploymentRecord, NodeRecord
from .store.writes import DropNode, DropNodeKey, PutDeployment, PutNode, PutRevision, StoreWrite

PAUSED = "a person has paused it"


@frozen
class Change:
    """A change that is to be written, and then to happen.

    Attributes:
        subject: The deployment id or node that it changes: nothing else is decided about it meanwhile.
        writes: For the store; where there are none, it happens at once.
        events: For the picture, once ``writes`` are on disk.
        answer: For who asked, after that.
    """

    subject: str
    writes: tuple[StoreWrite, ...]
    events: tuple[Event, ...]
    answer: ControlAnswer


def add(picture: Picture, spec: DeploymentSpec, uid: str, wall: float, warnings: Sequence[str]) -> Change:
    """Add a deployment whose id is free.

    Args:
        picture: The picture.
        spec: What to deploy.
        uid: Its identity: random text that was never used before.
        wall: Seconds since the epoch.
        warnings: Sentences for the author.
    """
    number = picture.catalogue.next_revision(spec.id)
    numbers = max(NUMBERS, 2 * spec.replicas)
    idle = begins_idle(spec)
    record = DeploymentRecord(uid, spec.id, wall, current=number, reserved=numbers, loaded=idle)
    revision = revision_record(uid, number, spec, wall)
    answer = answers.deployed(spec.id, number, list(warnings), created=True)
    writes = (PutDeployment(record), PutRevision(revision))
    return Change(spec.id, writes, (DeploymentAdded(record, revision),), answer)


def update(
    picture: Picture,
    deployment: Deployment,
    spec: DeploymentSpec,
    wall: float,
    warnings: Sequence[str],
    *,
    allow_downtime: bool,
) -> Change | ControlAnswer:
    """Give a deployment another specification: a new revision if engines must be started anew for it.

    A deployment that is being rolled out may be given its current engine's part again: then the rollout is
    called off.
    """
    if deployment.deleting:
        return answers.deleting(deployment.id)
    changed = differing_keys(deployment.spec, spec)
    generation = deployment.generation + bool(changed)
    current = deployment.revisions[deployment.current]
    anew = is_engine_change(deployment.spec, spec)
    if not changed:
        number = deployment.target
    elif anew and not is_engine_change(current.spec, spec):
        number = deployment.current
    else:
        number = picture.catalogue.next_revision(deployment.id) if anew else deployment.target
    answer = answers.updated(
        deployment.id, revision=number, generation=generation, changed=changed, warnings=warnings
    )
    if not changed:
        return answer
    known = tuple(
        evolve(
            revision_record(deployment.uid, each.number, with_policy(each.spec, spec), each.created),
            failed=each.failed,
        )
        for each in deployment.revisions.values()
    )
    events: list[Event] = [PolicyChanged(deployment.uid, known, generation)]
    writes: list[StoreWrite] = [PutRevision(each) for each in known]
    loaded = deployment.loaded or loses_first_load(deployment, deployment.spec, spec)
    record = evolve(deployment.record, generation=generation, loaded=loaded)
    if anew:
        revision = next((each for each in known if each.revision == number), None)
        if revision is None:
            revision = revision_record(deployment.uid, number, spec, wall)
            writes.append(PutRevision(revision))
        events.append(RevisionAdded(deployment.uid, revision, generation, allow_downtime))
        target = None if number == deployment.current else number
        record = evolve(record, target=target, paused="", allow_downtime=allow_downtime)
    return Change(deployment.id, (PutDeployment(record), *writes), tuple(events), answer)


def delete(picture: Picture, name: str) -> Change | ControlAnswer:
    """Delete the deployment with this id; its replicas then drain and stop."""
    deployment = picture.catalogue.by_id.get(name)
    if deployment is None:
        return answers.unknown(name)
    answer = answers.being_deleted(name)
    if deployment.deleting:
        return answer
    writes = (PutDeployment(evolve(deployment.record, deleting=True)),)
    return Change(name, writes, (DeletionAsked(deployment.uid),), answer)


def pause(picture: Picture, name: str) -> Change | ControlAnswer:
    """Let a rollout start and stop nothing until it is resumed."""
    deployment = picture.catalogue.by_id.get(name)
    if deployment is None:
        return answers.unknown(name)
    if not deployment.rolling or deployment.deleting:
        return answers.no_rollout(name)
    answer = answers.rollout_paused(name, deployment.target)
    if deployment.paused:
        return answer
    writes = (PutDeployment(evolve(deployment.record, paused=PAUSED)),)
    return Change(name, writes, (RolloutPaused(deployment.uid, PAUSED),), answer)


def resume(picture: Picture, name: str, *, allow_downtime: bool) -> Change | ControlAnswer:
    """Let a rollout go on, with or without leave to stop the last replica that serves."""
    deployment = picture.catalogue.by_id.get(name)
    if deployment is None:
        return answers.unknown(name)
    if not deployment.rolling or deployment.deleting:
        return answers.no_rollout(name)
    record = evolve(deployment.record, paused="", allow_downtime=allow_downtime or deployment.allow_downtime)
    event = RolloutResumed(deployment.uid, record.allow_downtime)
    return Change(name, (PutDeployment(record),), (event,), answers.rollout_resumed(name, deployment.target))


def drain(picture: Picture, wanted: str, *, draining: bool) -> Change | ControlAnswer:
    """Drain a worker, or no longer; ``wanted`` is its id or its name."""
    workers = {node.id: node.name or node.id for node in picture.fleet.nodes.values() if node.role == WORKER}
    found = find_node(workers, wanted)
    if isinstance(found, Refusal):
        return found
    node = picture.fleet.nodes[found]
    name = node.name or node.id
    if draining:
        answer = answers.drained(node.id, name, len(node.replicas))
    else:
        answer = answers.undrained(node.id, name)
    if node.draining == draining:
        return answer
    record = NodeRecord(node.id, node.role, node.name, picture.wall(node.since), draining)
    return Change(node.id, (PutNode(record),), (DrainSet(node.id, draining),), answer)


def remove(picture: Picture, wanted: str, bound: Container[str]) -> Change | ControlAnswer:
    """Forget a node that is down; ``wanted`` is its id or its name.

    Of several nodes of one name, the one that is down is meant.

    Args:
        picture: The picture.
        wanted: An id or a name.
        bound: The ids of nodes whose keys are known, also of such as the picture has forgotten.
    """
    node = _to_remove(picture, wanted)
    if isinstance(node, Refusal):
        return node
    if node is None and wanted not in bound:
        return answers.removed("", wanted)
    found = wanted if node is None else node.id
    name = wanted if node is None else node.name or node.id
    if node is not None and node.link is Link.UP:
        return answers.node_is_up(name, works=node.role == WORKER)
    if node is not None and node.link is Link.SUSPECT:
        return answers.node_is_suspect(name, GRACE)
    writes = (DropNode(found), DropNodeKey(found))
    return Change(found, writes, (NodeRemoved(found),), answers.removed(found, name))


def _to_remove(picture: Picture, wanted: str) -> KnownNode | Refusal | None:
    """Return the node that is meant, or None where none is known."""
    nodes = picture.fleet.nodes
    if wanted in nodes:
        return nodes[wanted]
    named = {node.id: wanted for node in nodes.values() if node.name == wanted}
    down = {node: name for node, name in named.items() if nodes[node].link is Link.DOWN}
    if not named:
        return None
    found = find_node(down or named, wanted, "nodes")
    return found if isinstance(found, Refusal) else nodes[found]
