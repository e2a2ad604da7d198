"""Which models to remove so that another one fits. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import frozen

KEEP_FREE = 0.05
"""The part of the disk that is kept free, as long as there is something to remove for it."""


@frozen
class CachedModel:
    """A model that a worker has on its disk, whole or in part.

    Attributes:
        source: Where the model came from, as a deployment names it.
        size: Bytes of everything in its folder.
        last_used: When it was last given back by a replica, in seconds since the epoch; 0 for never.
    """

    source: str
    size: int
    last_used: float = 0.0


@frozen
class DiskSpace:
    """The room on a worker's disk.

    Attributes:
        free: Free bytes of the disk.
        keep_free: Bytes of those that should stay free; less is no reason to refuse a model.
        quota: Bytes that all models together may have, or None.
    """

    free: int
    keep_free: int = 0
    quota: int | None = None


def choose_evictions(
    models: Collection[CachedModel], in_use: Collection[str], needed: int, room: DiskSpace
) -> tuple[CachedModel, ...] | None:
    """Return what to remove before ``needed`` bytes are added: as little as that takes.

    The least recently used go first.

    Args:
        models: All models on the disk, the part included that is there of the model to be added.
        in_use: Sources of the models that must stay.
        needed: Bytes that are to be added.
        room: The room on the disk, as it is now.

    Returns:
        None where it would not fit even without everything that may go; then nothing should go.
    """
    used = sum(model.size for model in models)
    spare = sorted(
        (model for model in models if model.source not in in_use),
        key=lambda model: (model.last_used, model.source),
    )
    must = needed - room.free
    if room.quota is not None:
        must = max(must, used + needed - room.quota)
    least = _first_of(spare, must)
    if least is None:
        return None
    should = _first_of(spare, needed + room.keep_free - room.free)
    # The disk may be full of other things: no model is removed for free space that models cannot give back.
    return least if should is None or len(should) < len(least) else should


def _first_of(spare: Iterable[CachedModel], size: int) -> tuple[CachedModel, ...] | None:
    """Return the first ones that have so many bytes together, or None when all have less."""
    chosen: list[CachedModel] = []
    for model in spare:
        if size <= 0:
            break
        chosen.append(model)
        size -= model.size
    return tuple(chosen) if size <= 0 else None
