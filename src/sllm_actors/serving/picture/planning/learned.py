"""Keeping in the store what was learned of the pauses between requests, and taking it from there."""

from __future__ import annotations

import json
from typing import Final

from sllm_actors.serving.decisions.pauses import Pauses
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.store.records import PausesRecord
from sllm_actors.serving.store.writes import PutPauses

KEEP_EVERY: Final = 600.0
"""Seconds between two writes of the pauses of one deployment at least."""


def keep_learned(
    deployment: Deployment, now: float, wall: float, every: float = KEEP_EVERY
) -> PutPauses | None:
    """Return what the store is to keep of the pauses of a deployment; None if that is not due.

    Args:
        deployment: Any.
        now: Seconds on the head's clock.
        wall: Seconds since the epoch.
        every: Seconds since the last write; 0 writes all that is new.
    """
    pauses = deployment.scaler.pauses
    if pauses is None or pauses.halved is None or pauses.added == deployment.pauses_kept:
        return None
    if deployment.pauses_kept and now < deployment.pauses_kept_at + every:
        return None
    deployment.pauses_kept, deployment.pauses_kept_at = pauses.added, now
    bins = json.dumps({number: round(count, 3) for number, count in sorted(pauses.bins.items())})
    halved = pauses.halved + wall - now
    return PutPauses(PausesRecord(deployment.uid, bins, round(pauses.longer, 3), halved))


def recall(deployment: Deployment, record: PausesRecord | None, skew: float) -> None:
    """Let a deployment know what was kept of its pauses, if it learns from them.

    Args:
        deployment: One that the store held.
        record: What it held of its pauses; None for nothing.
        skew: The difference of seconds since the epoch and of the head's clock.
    """
    if record is not None and deployment.spec.scaling.learn_keep_alive:
        deployment.scaler.pauses = Pauses(dict(record.counts), record.longer, record.halved - skew)
