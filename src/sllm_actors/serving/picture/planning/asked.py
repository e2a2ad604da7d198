"""What people have asked for of a deployment that exists, done to the record of it."""

from __future__ import annotations

from typing import TypeAlias

from sllm_actors.serving.deployment.changes import differing_keys
from sllm_actors.serving.picture.catalogue import Catalogue
from sllm_actors.serving.picture.deployment import Deployment, Revision, loses_first_load
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.events import (
    DeletionAsked,
    LoadAsked,
    NumbersReserved,
    PolicyChanged,
    RevisionAdded,
    RolloutPaused,
    RolloutResumed,
    TierAsked,
    UnloadAsked,
)
from sllm_actors.serving.store.records import RevisionRecord

from .planner import Planner

Asked: TypeAlias = (
    RevisionAdded
    | PolicyChanged
    | DeletionAsked
    | RolloutPaused
    | RolloutResumed
    | LoadAsked
    | UnloadAsked
    | TierAsked
    | NumbersReserved
)


def change(deployment: Deployment, event: Asked, catalogue: Catalogue, planner: Planner, now: float) -> None:
    """Take note of what somebody has asked for; the next plan of the deployment begins with it."""
    match event:
        case NumbersReserved(_, below):
            deployment.usable = max(deployment.usable, below)
        case RevisionAdded(_, record, generation, allow_downtime):
            revision = Revision.of(record)
            note_revision(deployment, revision.number, planner.effects)
            deployment.revisions[revision.number] = revision
            catalogue.used(deployment.id, revision.number)
            deployment.target, deployment.generation = revision.number, generation
            deployment.paused, deployment.allow_downtime = "", allow_downtime
            deployment.unproven = False
            catalogue.named(deployment)
        case PolicyChanged(_, records, generation):
            change_policy(deployment, records, generation, planner)
            catalogue.named(deployment)
        case DeletionAsked():
            deployment.deleting = True
            sentence = f"{deployment.id} is to be deleted, with {len(deployment.running())} replicas"
            planner.effects.note(deployment.id, "deployment.deleting", sentence)
        case RolloutPaused(_, reason):
            deployment.paused = reason if deployment.rolling else ""
            if deployment.paused:
                sentence = f"the rollout of revision {deployment.target} is paused: {reason}"
                planner.effects.note(deployment.id, "rollout.paused", sentence, revision=deployment.target)
        case RolloutResumed(_, allow_downtime):
            deployment.paused, deployment.allow_downtime = "", allow_downtime
            leave = ", and may stop the last replica that serves" if allow_downtime else ""
            sentence = f"the rollout of revision {deployment.target} goes on{leave}"
            planner.effects.note(deployment.id, "rollout.resumed", sentence, revision=deployment.target)
        case LoadAsked():
            load(deployment, planner, now)
        case UnloadAsked(_, force):
            unload(deployment, planner, now, force=force)
        case TierAsked(_, None):
            planner.orders.wake_all(deployment)
            deployment.used(now)
        case TierAsked(_, int(level)):
            planner.orders.put_to_sleep(deployment, level)


def change_policy(
    deployment: Deployment, records: tuple[RevisionRecord, ...], generation: int, planner: Planner
) -> None:
    """Give all revisions another policy."""
    before = deployment.spec
    for record in records:
        if record.revision in deployment.revisions:  # else nothing of it was left meanwhile
            deployment.revisions[record.revision] = Revision.of(record)
    planner.orders.repeat(deployment)
    deployment.generation = generation
    if changed := differing_keys(before, deployment.spec):
        sentence = f"settings {generation}: {', '.join(changed)} changed"
        planner.effects.note(deployment.id, "deployment.changed", sentence)
    if deployment.spec.scaling.min_instances != before.scaling.min_instances:
        deployment.scaler.hurried = True
    if loses_first_load(deployment, before, deployment.spec):
        deployment.loaded = True


def load(deployment: Deployment, planner: Planner, now: float) -> None:
    """Let one replica be started though no request waits; one that is ready is kept from now on."""
    deployment.unloading = deployment.unloaded = False
    if deployment.scaler.rest is not None:
        deployment.scaler.rest = now
    if deployment.has_sleepers:
        planner.orders.wake_all(deployment)
        deployment.used(now)
    if not any(replica.serves for replica in deployment.running()):
        deployment.loaded, deployment.asked_for = False, True
        planner.effects.note(deployment.id, "deployment.loaded", "a person wants it loaded")


def unload(deployment: Deployment, planner: Planner, now: float, *, force: bool) -> None:
    """Let no replica be wanted until the next request; with ``force`` until those of now have ended."""
    deployment.loaded, deployment.asked_for = True, False
    why = "a person has unloaded it"
    deployment.want(0, why, now)
    deployment.unloading, deployment.unloaded = force, True
    planner.effects.note(deployment.id, "deployment.unloaded", why)


def note_revision(deployment: Deployment, number: int, effects: Effects) -> None:
    """Add to the journal that a deployment is to have another revision."""
    if number == deployment.current:
        sentence = f"the rollout of revision {deployment.target} is called off: revision {number} goes on"
    else:
        sentence = f"revision {number} is rolled out; revision {deployment.current} serves until it does"
    effects.note(deployment.id, "rollout.started", sentence, revision=number)
