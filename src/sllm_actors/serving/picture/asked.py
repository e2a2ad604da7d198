"""What people have asked for of a deployment that exists, done to the record of it."""

from __future__ import annotations

from typing import TypeAlias

from .catalogue import Catalogue
from .deployment import Deployment, Revision
from .events import (
    DeletionAsked,
    NumbersReserved,
    PolicyChanged,
    RevisionAdded,
    RolloutPaused,
    RolloutResumed,
)
from .planner import Planner

Asked: TypeAlias = (
    RevisionAdded | PolicyChanged | DeletionAsked | RolloutPaused | RolloutResumed | NumbersReserved
)


def change(deployment: Deployment, event: Asked, catalogue: Catalogue, planner: Planner) -> None:
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
