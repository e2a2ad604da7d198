"""The heads that this worker has dialled: whose orders it obeys, and where it says what it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import structlog
from attrs import evolve

from sllm_actors.actors import ActorRef, Context, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.serving.messages import CONTROLLER, Order, WorkerInventory
from sllm_actors.serving.streams import ORDERS, OrdersDifference, OrdersPage

from .epoch import ObeyedEpoch

log = structlog.get_logger("sllm_actors.worker")

OrderMessage: TypeAlias = OrdersDifference | OrdersPage | Beat


class Heads:
    """Follows the orders of each head that is linked, and takes those of the highest epoch.

    There is one head, but for a while there may be two: one that was given up, and one in its place. All
    methods are for the worker's actor.

    Args:
        context: The actor's.
        epoch: The highest epoch that was obeyed.

    Attributes:
        obeyed: The head that was obeyed last; "" before that.
    """

    def __init__(self, context: Context, epoch: ObeyedEpoch) -> None:
        self._context = context
        self._epoch = epoch
        self._orders: dict[str, Subscription[ReplicaKey, Order]] = {}
        self._ignored: dict[str, int] = {}
        self.obeyed = ""

    def controller(self, node: str) -> ActorRef:
        """Return the actor of a head that orders, and that is told."""
        return self._context.system.named(CONTROLLER, NodeId(node))

    def link_up(self, node: str, stops: Iterable[ReplicaKey] = ()) -> bool:
        """Follow the orders of a head that this worker has dialled; return whether it was obeyed before.

        Args:
            node: The head.
            stops: The replicas that some head has ordered to stop: if this one does not, that is withdrawn.
        """
        follower = Follower(ORDERS, self._context.system.node, known=stops)
        self._orders[node] = Subscription(follower, self.controller(node))
        self._orders[node].begin()
        return node == self.obeyed

    def link_lost(self, node: str) -> bool:
        """Obey that node no more; return whether it was obeyed."""
        self._orders.pop(node, None)
        self._ignored.pop(node, None)
        return node == self.obeyed

    def obeyed_beside(self, node: str) -> str:
        """Return the head that is linked and obeyed, if it is not ``node``; else ""."""
        return self.obeyed if self.obeyed != node and self.obeyed in self._orders else ""

    def tell(self, said: WorkerInventory, nodes: Iterable[str] | None = None) -> None:
        """Tell the heads that are linked, or those of them that are named."""
        for node in self._orders if nodes is None else nodes:
            self.controller(node).tell(evolve(said, obeys=self.obeyed_beside(node)))

    async def take(self, message: OrderMessage) -> Changes[ReplicaKey, Order]:
        """Return the orders in a message that are to be obeyed, and those that are withdrawn."""
        subscription = self._orders.get(message.node)
        if subscription is None or not await self._obeys(subscription, message):
            return Changes()
        changes = subscription.take(message)
        if changes.refused:
            log.warning("worker.orders_refused", head=message.node, reason=changes.refused)
        return changes

    async def _obeys(self, subscription: Subscription[ReplicaKey, Order], message: OrderMessage) -> bool:
        """Return whether a head is obeyed: none of a higher epoch was before, and none of the same one is."""
        head, epoch, obeyed = message.node, message.life, self._epoch.value
        if epoch < obeyed or (epoch == obeyed and self.obeyed_beside(head)):
            if self._ignored.get(head) != epoch:
                self._ignored[head] = epoch
                log.warning("worker.head_ignored", head=head, epoch=epoch, obeyed=obeyed)
            return False
        if epoch > obeyed:
            await self._epoch.rise(epoch)
        self.obeyed = head
        if self._ignored.pop(head, None) is not None:
            subscription.begin()  # what was ignored is missing
        return True
