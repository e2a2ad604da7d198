"""Deployments that wait for room, in queues by what a replica needs."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator

from attrs import frozen

from sllm_actors.serving.picture.room.need import Free, Need

LOOKED_AT = 32
"""How many of a queue are looked at when room becomes free: others are tried again after a while."""


@frozen(order=True)
class _Class:
    """Needs that are nearly the same: ``octave`` and ``share`` are how many binary digits bytes have."""

    gpus: int
    octave: int
    slots: int
    share: int

    @property
    def least(self) -> Need:
        """The least of them."""
        memory, share = (1 << (octave - 1) if octave else 0 for octave in (self.octave, self.share))
        return Need(self.gpus, memory, self.slots, share)


class WaitingQueues:
    """Queues of uids by what a replica needs; in each, who came first is first."""

    def __init__(self) -> None:
        self._kinds: list[_Class] = []
        self._queues: dict[_Class, dict[str, None]] = {}
        self._needs: dict[str, Need] = {}

    def __len__(self) -> int:
        """Return how many deployments wait."""
        return len(self._needs)

    def __contains__(self, uid: str) -> bool:
        """Return whether a deployment waits."""
        return uid in self._needs

    def add(self, uid: str, need: Need) -> None:
        """Add a deployment at the end of its queue; one that waits with the same need keeps its place."""
        known = self._needs.get(uid)
        if known is not None and _class(known) == _class(need):
            self._needs[uid] = need
            return
        self.remove(uid)
        self._needs[uid] = need
        kind = _class(need)
        if kind not in self._queues:
            insort(self._kinds, kind)
            self._queues[kind] = {}
        self._queues[kind][uid] = None

    def remove(self, uid: str) -> None:
        """Remove a deployment, if it waits."""
        need = self._needs.pop(uid, None)
        if need is None:
            return
        kind = _class(need)
        queue = self._queues[kind]
        del queue[uid]
        if not queue:
            del self._queues[kind]
            self._kinds.remove(kind)

    def for_room(self, free: Free, fits: Callable[[str], bool]) -> Iterator[str]:
        """Return who should be tried again now that a worker has room, the one with the greatest need first.

        Args:
            free: What the worker has left.
            fits: Whether the worker may have a replica of the deployment.
        """
        left = free
        for kind in reversed(self._kinds):
            if not left.fits(kind.least):
                continue
            for turn, uid in enumerate(self._queues[kind]):
                if turn >= LOOKED_AT or not left.fits(kind.least):
                    break
                need = self._needs[uid]
                if left.fits(need) and fits(uid):
                    left = left.without(need)
                    yield uid


def _class(need: Need) -> _Class:
    return _Class(need.gpus, need.memory.bit_length(), need.slots, need.gpu_memory.bit_length())
