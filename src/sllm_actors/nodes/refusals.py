"""Tells the head how many connections and requests this node has refused, so that people can see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from sllm_actors.actors import Actor, ActorRef
from sllm_actors.serving.messages import RefusedSoFar

INTERVAL: Final = 2.0
"""Seconds between two times of telling."""

REFUSALS: Final = "refusals"
"""The name of the actor that tells."""


@frozen
class _Tell:
    """Time to tell."""


class RefusalTeller(Actor):
    """Tells of all counts again and again, as soon as there are any: a message may be lost, and a head new.

    Args:
        counts: Return how many were refused, by why; of the same why, those of all are added.
        heads: Returns the heads to tell now.
    """

    def __init__(
        self,
        *counts: Callable[[], Mapping[str, int]],
        heads: Callable[[], Iterable[ActorRef]],
    ) -> None:
        self._counts = counts
        self._heads = heads

    async def started(self) -> None:
        self.context.after(INTERVAL, _Tell())

    async def receive(self, message: Any) -> None:
        if not isinstance(message, _Tell):
            await super().receive(message)
            return
        self.context.after(INTERVAL, _Tell())
        so_far: dict[str, int] = {}
        for counts in self._counts:
            for why, count in counts().items():
                so_far[why] = so_far.get(why, 0) + count
        if so_far:
            said = RefusedSoFar(self.context.system.node, so_far)
            for head in self._heads():
                head.tell(said)
