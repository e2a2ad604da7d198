"""Which replicas are to be given back to their workers, and which have been. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from sllm_actors.engines.identity import ReplicaId

from .route import Upstream

Withdrawal: TypeAlias = tuple[str, ReplicaId, int, int]
"""The worker, the replica, the number that the worker gave the withdrawal, and the worker's whole."""


class GiveBacks:
    """The withdrawals of one deployment's replicas: each is to be told to its worker until that has heard it.

    A withdrawal is another one after its worker has told of all its replicas anew: then it may have forgotten
    what it heard.

    Args:
        whole_of: See ``Knowledge.whole_of``.
    """

    def __init__(self, whole_of: Callable[[str], int]) -> None:
        self._whole_of = whole_of
        self._leaving: dict[Withdrawal, Upstream] = {}
        self._begun: set[Withdrawal] = set()

    def begin(self, leaving: Iterable[Upstream]) -> list[tuple[Withdrawal, Upstream]]:
        """Take the replicas that are leaving now, and return those that nobody has begun to give back."""
        self._leaving = {self._withdrawal(upstream): upstream for upstream in leaving}
        self._begun &= self._leaving.keys()
        new = [(each, upstream) for each, upstream in self._leaving.items() if each not in self._begun]
        self._begun.update(each for each, _ in new)
        return new

    def is_due(self, withdrawal: Withdrawal) -> bool:
        """Return whether the worker still waits to hear of this withdrawal, as far as is known here."""
        return withdrawal in self._leaving

    def _withdrawal(self, upstream: Upstream) -> Withdrawal:
        return upstream.node, upstream.id, upstream.withdrawal, self._whole_of(upstream.node)
