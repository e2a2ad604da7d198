"""The replicas that run on a worker: each is an actor, a child of the worker's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sllm_actors.actors import TEMPORARY, Actor, ActorRef, ChildSpec, Context
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder

REPLICA_STOP_BUDGET: Final = 30.0
"""Seconds that a replica's actor gets to end when the worker stops."""


class RunningReplicas:
    """The actors of the replicas that run.

    Args:
        context: That of the worker's actor, which gets ``Down`` when one of them has ended.
        make: Makes the actor of a replica, which reports to the given ref.
    """

    def __init__(self, context: Context, make: Callable[[ReplicaOrder, ActorRef], Actor]) -> None:
        self._context = context
        self._make = make
        self._refs: dict[ReplicaKey, ActorRef] = {}
        self._keys: dict[ActorRef, ReplicaKey] = {}

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._refs)

    def at(self, key: ReplicaKey) -> ActorRef | None:
        """Return the actor of a replica, or None if it does not run."""
        return self._refs.get(key)

    def tell(self, key: ReplicaKey, message: Any) -> None:
        """Tell one that runs.

        Raises:
            KeyError: It does not run.
        """
        self._refs[key].tell(message)

    def tell_all(self, message: Any) -> None:
        """Tell each of them."""
        for ref in self._refs.values():
            ref.tell(message)

    async def start(self, order: ReplicaOrder) -> None:
        """Start the actor of a replica that does not run.

        Raises:
            StartFailed: It cannot be started.
        """
        spec = ChildSpec(
            id=f"{order.key} {order.key.uid}",  # without the uid, two lives of a deployment are one
            factory=partial(self._make, order, self._context.ref),
            restart=TEMPORARY,
            shutdown=REPLICA_STOP_BUDGET,
        )
        ref = await self._context.start_child(spec)
        self._refs[order.key] = ref
        self._keys[ref] = order.key
        self._context.monitor(ref)

    def ended(self, ref: ActorRef) -> ReplicaKey | None:
        """Take note that an actor has ended; return which replica it was, or None if it was none."""
        key = self._keys.pop(ref, None)
        if key is not None:
            del self._refs[key]
        return key
