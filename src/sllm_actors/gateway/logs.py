"""An instance's log, from the worker that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import field, frozen

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import LogChunk, ReadLog
from sllm_actors.serving.messages import WORKER

from . import errors
from .knowledge import Knowledge

LARGEST_CHUNK = 65536

MOST_REMEMBERED = 256
"""Replicas whose worker is still known when they are gone: those whose logs were read last."""

_KEY = re.compile(r"(?P<deployment>.+)@(?P<revision>\d{1,9})\.(?P<number>\d{1,9})")


@frozen
class LogReader:
    """Asks workers for logs; also for the end of one that was read before its replica was gone."""

    system: ActorSystem
    knowledge: Callable[[], Knowledge]
    timeout: float
    _nodes: dict[ReplicaKey, str] = field(factory=dict, init=False, repr=False)

    async def read(self, instance: str, offset: int | None, limit: int | None) -> LogChunk:
        """Return a piece of the log of an instance.

        Args:
            instance: Its id; the attempt at its end may be left out, and does not matter: a log is of all.
            offset: Where to begin, in bytes, or None for the end of the log.
            limit: At most so many bytes; what is over ``LARGEST_CHUNK`` does not count.

        Raises:
            ApiError: There is no such instance, or its worker cannot be asked.
        """
        key = _key_of(instance)
        node = None if key is None else self._node_of(key)
        if key is None or node is None:
            raise errors.not_found(f"there is no instance {instance[:200]!r}: GET /status lists them")
        question = ReadLog(key, offset, min(limit or LARGEST_CHUNK, LARGEST_CHUNK))
        try:
            chunk = await self.system.named(WORKER, NodeId(node)).ask(question, timeout=self.timeout)
        except AskError as error:
            raise errors.worker_away(str(error)) from None
        if not isinstance(chunk, LogChunk):
            raise errors.not_found(f"the worker has no log of {instance[:200]!r}")
        return chunk

    def _node_of(self, key: ReplicaKey) -> str | None:
        """Return the worker that has a replica, or had it when somebody read its log."""
        knowledge, before = self.knowledge(), self._nodes.pop(key, None)
        node = knowledge.node_of(key) or before
        if node is None or node not in knowledge.states:
            return None
        self._nodes[key] = node  # behind those that were read longer ago
        if len(self._nodes) > MOST_REMEMBERED:
            del self._nodes[next(iter(self._nodes))]
        return node


def _key_of(instance: str) -> ReplicaKey | None:
    try:
        return ReplicaId.parse(instance).key
    except ValueError:
        match = _KEY.fullmatch(instance)
    if match is None:
        return None
    return ReplicaKey(match["deployment"], int(match["revision"]), int(match["number"]))
