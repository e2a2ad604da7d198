"""The other ends of a worker's streams: a head that orders, and heads and gateways that follow its replicas.

Both use the real publisher and follower; a test decides what reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaReport, ReplicaState
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.messages import Order, WorkerInventory
from sllm_actors.serving.streams import ORDERS, REPLICAS, AskOrders


class FollowingNode:
    """A head or gateway that follows the worker's replicas.

    Attributes:
        table: What it knows of them.
        news: What came of each key, oldest first; None where it was removed.
        inventories: The inventories that it was told.
    """

    def __init__(self, node: str, tell: Callable[[Any], None]) -> None:
        self.node = node
        self.table: dict[ReplicaKey, ReplicaReport] = {}
        self.news: list[ReplicaReport | None] = []
        self.inventories: list[WorkerInventory] = []
        self._tell = tell
        self._follower = Follower(REPLICAS, node)

    def begin(self) -> None:
        self._apply(self._follower.begin())

    def take(self, message: Any) -> None:
        if isinstance(message, WorkerInventory):
            self.inventories.append(message)
        else:
            self._apply(self._follower.take(message))

    def _apply(self, changes: Changes[ReplicaKey, ReplicaReport]) -> None:
        for report in changes.put:
            self.table[report.id.key] = report
            self.news.append(report)
        for key in changes.removed:
            del self.table[key]
            self.news.append(None)
        if changes.ask is not None:
            self._tell(changes.ask)

    @property
    def states(self) -> dict[ReplicaKey, ReplicaState]:
        return {key: report.state for key, report in self.table.items()}


class OrderingHead(FollowingNode):
    """A head that orders: what is not named any more is to stop, until the worker says that it is gone.

    Attributes:
        asked: How often it was asked for all orders.
        keeps_orders: Whether it leaves orders to stop as they are.
    """

    def __init__(self, node: str, tell: Callable[[Any], None], epoch: int) -> None:
        super().__init__(node, tell)
        self.orders = Publisher(ORDERS, node, epoch)
        self._known: dict[ReplicaKey, ReplicaOrder | None] = {}
        self.asked = 0
        self.keeps_orders = False

    def take(self, message: Any) -> None:
        if isinstance(message, AskOrders):
            self.asked += 1
            self._tell(self.orders.page(message.after))
        else:
            super().take(message)

    def _apply(self, changes: Changes[ReplicaKey, ReplicaReport]) -> None:
        super()._apply(changes)
        if self.keeps_orders:
            return
        gone = [report.id.key for report in changes.put if report.state is ReplicaState.STOPPED]
        for key in gone:
            self._known.pop(key, None)
        self.forget(*gone)

    def order(self, *wanted: ReplicaOrder) -> None:
        for order in wanted:
            self._known[order.key] = order
            self.orders.put(Order(order.key, order))
        for key in self._known.keys() - {order.key for order in wanted}:
            self.orders.put(Order(key, None, "it is no longer wanted"))
        self.send()

    def put(self, order: Order) -> None:
        """Give one order, whatever the others are."""
        self._known[order.key] = order.run
        self.orders.put(order)
        self.send()

    def forget(self, *keys: ReplicaKey) -> None:
        for key in keys:
            self.orders.remove(key)
        self.send()

    def send(self) -> None:
        for difference in self.orders.flush():
            self._tell(difference)

    def beat(self) -> None:
        self._tell(self.orders.beat())
