"""Which replicas have made the responses that later requests may name.

The worker of a replica remembers the ids of the responses made there, too: so each gateway can find what was
made through another one, or before it was started anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import anyio
import structlog

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.serving.messages import WORKER, FindResponse, ResponseFound, ResponseMade
from sllm_actors.serving.sticky_ids import LONGEST, StickyIds

log = structlog.get_logger("sllm_actors.gateway")

PATIENCE: Final = 1.0
"""Seconds that workers have to say whether they know an id."""

AT_A_TIME: Final = 64
"""Questions to workers that are under way at the same time, for all requests together."""


class StoredResponses:
    """What this gateway knows of stored responses, and what it asks workers.

    Args:
        system: The node's actor system.
        workers: Returns the workers that are linked now.
    """

    def __init__(self, system: ActorSystem, workers: Callable[[], Iterable[NodeId]]) -> None:
        self._system = system
        self._workers = workers
        self._ids = StickyIds()
        self._turns = anyio.Semaphore(AT_A_TIME)

    def remember(self, made: str, replica: ReplicaId, node: str | None) -> None:
        """Remember that a replica has made a response, here and at the worker ``node``, if that is known."""
        self._ids.remember(made, replica)
        if node is not None:
            self._system.named(WORKER, NodeId(node)).tell(ResponseMade(replica, made))

    def find(self, made: str) -> ReplicaId | None:
        """Return the replica that has made a response, as far as this gateway knows."""
        return self._ids.find(made)

    async def look_for(self, made: str) -> None:
        """Ask all linked workers which of them has a response; ``find`` knows it then if one has."""
        if len(made) > LONGEST:
            return
        with anyio.move_on_after(PATIENCE):
            async with anyio.create_task_group() as asking:
                for node in self._workers():
                    asking.start_soon(self._ask, node, made, asking.cancel_scope)

    async def _ask(self, node: NodeId, made: str, found: anyio.CancelScope) -> None:
        try:
            async with self._turns:
                answer = await self._system.named(WORKER, node).ask(FindResponse(made), timeout=PATIENCE)
        except AskError as error:
            log.info("response.not_looked_for", worker=str(node), error=str(error))
            return
        if isinstance(answer, ResponseFound) and answer.replica is not None:
            self._ids.remember(made, answer.replica)
            found.cancel()
