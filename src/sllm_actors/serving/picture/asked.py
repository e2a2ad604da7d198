"""What people have asked for of a deployment that exists, done to the record of it."""

from __future__ import annotations

from typing import TypeAlias

from .catalogue import Catalogue
from .deployment import Deployment, Revision
from .events import (
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
            deployment.revisions[revision.number] = revision
            catalogue.used(deployment.id, revision.number)
            deployment.target, deployment.generation = revision.number, generation
            deployment.paused, deployment.allow_downtime = "", allow_downtime
            deployment.unproven = False
            catalogue.named(deployment)
        case PolicyChanged(_, records, generation):
            least = deployment.spec.scaling.min_instances
            for record in records:
                if record.revision in deployment.revisions:  # else nothing of it was left meanwhile
                    deployment.revisions[record.revision] = Revision.of(record)
            planner.repeat_orders(deployment)
            deployment.generation = generation
            if deployment.spec.scaling.min_instances != least:
                deployment.scaler.hurried = True
            catalogue.named(deployment)
        case DeletionAsked():
            deployment.deleting = True
        case RolloutPaused(_, reason):
            deployment.paused = reason if deployment.rolling else ""
        case RolloutResumed(_, allow_downtime):
            deployment.paused, deployment.allow_downtime = "", allow_downtime
        case LoadAsked():
            load(deployment, planner, now)
        case UnloadAsked(_, force):
            unload(deployment, planner, force=force)
        case TierAsked(_, None):
            planner.wake_all(deployment)
            deployment.used(now)
        case TierAsked(_, int(level)):
            planner.put_to_sleep(deployment, level)


def load(deployment: Deployment, planner: Planner, now: float) -> None:
    """Let one replica be started though no request waits; one that is ready is kept from now on."""
    deployment.unloading = deployment.unloaded = False
    if deployment.scaler.rest is not None:
        deployment.scaler.rest = now
    if deployment.has_sleepers:
        planner.wake_all(deployment)
        deployment.used(now)
    if not any(replica.serves for replica in deployment.running()):
        deployment.loaded, deployment.asked_for = False, True
        planner.effects.note(deployment.id, "deployment.loaded", "a person wants it loaded")


def unload(deployment: Deployment, planner: Planner, *, force: bool) -> None:
    """Let no replica be wanted until the next request; with ``force`` until those of now have ended."""
    deployment.loaded, deployment.asked_for = True, False
    deployment.wanted, deployment.fewer = 0, "a person has unloaded it"
    deployment.unloading, deployment.unloaded = force, True
    planner.effects.note(deployment.id, "deployment.unloaded", deployment.fewer)
