"""Instances, as the app asks their workers about them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import LogChunk, ReadLog
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.knowledge import Knowledge
from sllm_actors.serving.messages import WORKER, ControlAnswer, SleepInstance, WakeInstance

LARGEST_CHUNK = 65536

MOST_REMEMBERED = 256
"""Replicas whose worker is still known when they are gone: those whose logs were read last."""

_KEY = re.compile(r"(?P<deployment>.+)@(?P<revision>\d{1,9})\.(?P<number>\d{1,9})")


@frozen
class Instances:
    """Asks the workers that run them.

    An instance is named by its id; the attempt at its end may be left out, and does not matter. The end of a
    log that was being read can be asked for when the instance is gone. Every method raises ``ApiError`` where
    there is no such instance, or its worker cannot be asked.
    """

    system: ActorSystem
    knowledge: Callable[[], Knowledge]
    timeout: float
    _nodes: dict[ReplicaKey, str] = field(factory=dict, init=False, repr=False)

    async def read_log(self, instance: str, offset: int | None, limit: int | None) -> LogChunk:
        """Return a piece of the log of an instance, over all its attempts.

        Args:
            offset: Where to begin, in bytes, or None for the end of the log.
            limit: At most so many bytes; what is over ``LARGEST_CHUNK`` does not count.
        """
        limit = min(limit or LARGEST_CHUNK, LARGEST_CHUNK)
        chunk = await self._ask(instance, lambda key: ReadLog(key, offset, limit))
        if not isinstance(chunk, LogChunk):
            raise errors.not_found(f"the worker has no log of {instance[:200]!r}")
        return chunk

    async def sleep(self, instance: str, level: int) -> ControlAnswer:
        """Ask for an instance to be put to sleep; return what its worker says."""
        return _answer(await self._ask(instance, lambda key: SleepInstance(key, level)))

    async def wake_up(self, instance: str) -> ControlAnswer:
        """Ask for an instance to be woken; return what its worker says."""
        return _answer(await self._ask(instance, WakeInstance))

    async def _ask(self, instance: str, question: Callable[[ReplicaKey], Any]) -> Any:
        key = _key_of(instance)
        node = None if key is None else self._node_of(key)
        if key is None or node is None:
            raise errors.not_found(f"there is no instance {instance[:200]!r}: GET /status lists them")
        try:
            return await self.system.named(WORKER, NodeId(node)).ask(question(key), timeout=self.timeout)
        except AskError as error:
            raise errors.worker_away(str(error)) from None

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


def _answer(said: Any) -> ControlAnswer:
    if not isinstance(said, ControlAnswer):
        raise errors.worker_away(f"it answered with a {type(said).__name__}")
    return said


def _key_of(instance: str) -> ReplicaKey | None:
    try:
        return ReplicaId.parse(instance).key
    except ValueError:
        match = _KEY.fullmatch(instance)
    if match is None:
        return None
    return ReplicaKey(match["deployment"], int(match["revision"]), int(match["number"]))
