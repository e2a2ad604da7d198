"""Questions and orders about single instances, which are sent to the instance's worker without the head."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import LogChunk, ReadLog
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.memory.knowledge import Knowledge
from sllm_actors.serving.messages import WORKER, ControlAnswer, SleepInstance, WakeInstance

LARGEST_CHUNK = 65536
"""Bytes of a log that one answer has at most."""

MOST_REMEMBERED = 256
"""Of how many replicas the worker is remembered, those asked about last: so the end of a log can be read
when its replica is gone."""

_KEY = re.compile(r"(?P<deployment>.+)@(?P<revision>\d{1,9})\.(?P<number>\d{1,9})")


@frozen
class Instances:
    """Asks the workers about the instances that they run.

    An instance is named by its id, ``<model>:<backend>@<revision>.<number>.<attempt>``; the attempt may be
    left out, and is ignored. A log that was being read can be read to its end after the instance is gone.

    Every method raises ``ApiError``: 404 where there is no such instance, 503 (``worker_unavailable``) where
    its worker does not answer within ``timeout``.

    Attributes:
        system: The node's actor system.
        knowledge: Returns what the gateway knows now: which worker has which replica.
        timeout: Seconds that a worker has for its answer.
    """

    system: ActorSystem
    knowledge: Callable[[], Knowledge]
    timeout: float
    _seen: dict[str, tuple[str, ReplicaKey]] = field(factory=dict, init=False, repr=False)

    async def read_log(self, instance: str, offset: int | None, limit: int | None) -> LogChunk:
        """Return a piece of an instance's log; the log goes on over all attempts of the instance.

        Args:
            instance: The id of the instance.
            offset: Where to begin, in bytes, or None for the last ``limit`` bytes of the log.
            limit: The most bytes to return, or None for ``LARGEST_CHUNK``, which is also the most that count.
        """
        limit = min(limit or LARGEST_CHUNK, LARGEST_CHUNK)
        chunk = await self._ask(instance, lambda key: ReadLog(key, offset, limit))
        if not isinstance(chunk, LogChunk):
            raise errors.not_found(f"the worker has no log of {instance[:200]!r}")
        return chunk

    async def sleep(self, instance: str, level: int) -> ControlAnswer:
        """Tell the worker to put an instance to sleep, at level 0, 1 or 2; return the worker's answer."""
        return _answer(await self._ask(instance, lambda key: SleepInstance(key, level)))

    async def wake_up(self, instance: str) -> ControlAnswer:
        """Tell the worker to wake an instance; return the worker's answer."""
        return _answer(await self._ask(instance, WakeInstance))

    async def _ask(self, instance: str, question: Callable[[ReplicaKey], Any]) -> Any:
        named = _key_of(instance)
        found = None if named is None else self._find(named)
        if found is None:
            raise errors.not_found(f"there is no instance {instance[:200]!r}: GET /status lists them")
        node, key = found
        try:
            return await self.system.named(WORKER, NodeId(node)).ask(question(key), timeout=self.timeout)
        except AskError as error:
            raise errors.worker_away(str(error)) from None

    def _find(self, named: ReplicaKey) -> tuple[str, ReplicaKey] | None:
        """Return the worker that has a replica, or had it when last asked, and the replica's whole key.

        None if there is none, or that worker is lost.
        """
        knowledge, before = self.knowledge(), self._seen.pop(str(named), None)
        found = knowledge.find(named.deployment, named.revision, named.number) or before
        if found is None or not knowledge.is_linked(found[0]):
            return None
        self._seen[str(named)] = found  # to the end: the first one is what was asked about longest ago
        if len(self._seen) > MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return found


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
