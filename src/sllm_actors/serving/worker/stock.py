"""Which inventory is worth telling the head. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from sllm_actors.serving.messages import Inventory

STEP: Final = 0.05
"""The part of all memory by which free memory has to move before that alone is told."""


def is_news(before: Inventory, after: Inventory) -> bool:
    """Return whether the head should be told of an inventory, after another one that it was told of.

    That is so when anything has changed but memory; or free memory by more than ``STEP`` of all there is.
    """
    if _lasting(before) != _lasting(after):
        return True
    if abs(after.memory_free - before.memory_free) > STEP * after.memory_total:
        return True
    gpus = zip(before.gpus, after.gpus, strict=True)
    return any(abs(new.memory_free - old.memory_free) > STEP * new.memory_total for old, new in gpus)


def _lasting(inventory: Inventory) -> Inventory:
    return evolve(
        inventory,
        memory_free=0,
        gpus=tuple(evolve(gpu, memory_free=0) for gpu in inventory.gpus),
        fork_servers=tuple(evolve(server, memory=0) for server in inventory.fork_servers),
    )


Engines = Mapping[str, object]
"""By where an engine can be installed: something that differs between two installs, or None for no engine."""


def has_more_engines(before: Engines, after: Engines) -> bool:
    """Return whether an engine was installed, or installed anew, since ``before``."""
    return any(mark is not None and mark != before.get(place) for place, mark in after.items())
