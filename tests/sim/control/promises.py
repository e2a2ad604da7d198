"""What must hold at every moment of a run; ``agreed`` has what must hold at its end.

The numbers of the promises are those of ``docs/testing.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import trio

from sllm_actors.actors import NodeId
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.head_feeds import HeadFeeds
from sllm_actors.serving.picture.audit import Audit
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.worker.heads import Heads

from .nodes import HEAD, SPARE

if TYPE_CHECKING:
    from .cluster import Cluster
    from .machine import Life, Machine

MEMORY = 20.0
"""Seconds for which a head may believe what was so: a link's budget, the grace, and a little more."""


class Promises:
    """Sees what the actors decide and do, and judges it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.lives: list[Life] = []
        self._stops: set[tuple[str, ReplicaKey]] = set()

    # ---- P1

    def moved_in(self, machine: Machine, life: Life) -> None:
        """A replica begins on a machine."""
        self.lives.append(life)
        self._trace("begins", machine.name, _name(life.key))
        taken = sum(each.gpus for each in machine.running().values())
        if taken > machine.gpus:
            keys = ", ".join(_name(each.key) for each in machine.running().values())
            self.violated("P1", f"{machine.name} has {machine.gpus} GPUs, and {taken} are taken: {keys}")
        if len(machine.running()) > machine.slots:
            keys = ", ".join(_name(each.key) for each in machine.running().values())
            self.violated("P1", f"{machine.name} has {machine.slots} slots, and more run: {keys}")

    # ---- P3

    def stops(self, machine: Machine, life: Life, reason: str) -> None:
        """A worker stops a replica."""
        self._trace("stops", machine.name, _name(life.key), reason)
        if (life.node, life.key) not in self._stops:
            self.violated("P3", f"{machine.name} stops {_name(life.key)}, and no head has ordered that")

    def ordered_to_stop(self, controller: Controller, node: str, key: ReplicaKey, reason: str) -> None:
        """A head orders that a replica stops."""
        machine = self._cluster.machines[node]
        self._stops.add((node, key))
        head = controller.context.system.node
        self._trace(head, "orders the stop of", _name(key), "on", node, reason)
        if head != self._cluster.head_name:
            return  # one that has been replaced: no worker that knows of that obeys it
        for life in machine.running().values():
            if life.key == key and not life.told_to_stop:
                if why := self._why_not(controller, node, life):
                    self.violated("P3", f"{_name(key)} on {node} is stopped ({reason}): {why}")
                life.told_to_stop = True

    def ordered_to_run(self, controller: Controller, node: str, key: ReplicaKey) -> None:
        """A head orders that a replica runs: what was to stop if it is idle, and is not, goes on."""
        if controller.context.system.node == self._cluster.head_name:
            for life in self._cluster.machines[node].running().values():
                if life.key == key:
                    life.told_to_stop = False

    def _why_not(self, controller: Controller, node: str, life: Life) -> str:
        """Return why a replica must not be stopped; "" if it may."""
        key, picture, people = life.key, controller._picture, self._cluster.people
        now = trio.current_time()
        known = picture.fleet.nodes[node].replicas.get(key)
        if known is None or not known.serves:
            if life.ready_since is None or life.ready_since > now - MEMORY:
                return ""
        elif life.ready_since is None:
            return ""
        if people.deletes(key.uid) or people.drains(node):
            return ""
        deployment = picture.catalogue.by_uid.get(key.uid)
        if deployment is None:
            return "" if key.deployment in picture.catalogue.by_id else "nobody has deleted its deployment"
        if deployment.rolling or key.revision != deployment.target or people.rolls(key.uid):
            return ""
        wanted = people.fewest(key.uid, deployment.wanted)
        among = sum(
            each.key.uid == key.uid
            and not each.told_to_stop
            and (each.ended is None or each.ended > now - MEMORY)
            for each in self.lives
        )
        return "" if among > wanted else f"{wanted} are wanted, and {among} run"

    # ---- P6

    def obeys(self, node: str, head: str, epoch: int) -> None:
        """A worker obeys orders of a head."""
        machine = self._cluster.machines[node]
        if epoch < machine.obeyed:
            self.violated("P6", f"{node} obeys {head} of epoch {epoch}, and has obeyed {machine.obeyed}")
        machine.obeyed = max(machine.obeyed, epoch)
        peers = {peer.node: peer for peer in self._cluster.nodes[node].transport.peers()}
        before = machine.obeys
        if before is not None and (before.node, head) == (SPARE, HEAD) and peers.get(before.node) == before:
            self.violated("P6", f"{node} turns back to {head}, and {SPARE}, which took its place, is there")
        machine.obeys = peers.get(NodeId(head))

    # ---- P8

    def given_back(self, machine: Machine, replica: ReplicaId) -> None:
        """An engine ends, since no gateway needs it any more."""
        for gateway in self._cluster.clients.at(machine, replica):
            self.violated("P8", f"{replica} on {machine.name} ends, and {gateway} has requests there")

    # ---- the picture

    def _audit(self, controller: Controller) -> None:
        """Look whether the picture's indices agree with what they are made from."""
        for text in Audit(controller._picture, controller._feeds.orders_of).everything():
            self.violated("P5", text)

    # ---- watching

    def violated(self, rule: str, text: str) -> None:
        """Write down that a promise was broken."""
        self._cluster.ledger.violated(rule, text)

    def _trace(self, *what: object) -> None:
        self._cluster.ledger.trace(*what)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what heads order and what workers obey."""
        publish, take, carry = HeadFeeds.publish, Heads.take, Controller._carry_out
        deciding: list[Controller] = []

        def carry_out(controller: Controller, effects: Effects) -> None:
            deciding.append(controller)
            try:
                carry(controller, effects)
            finally:
                deciding.pop()
            self._audit(controller)

        def seen(feeds: HeadFeeds, effects: Effects) -> None:
            for (node, key), order in effects.orders.items():
                if order is None or self._is_dead(feeds._node):
                    continue
                if order.run is None:
                    self.ordered_to_stop(deciding[-1], node, key, order.stop)
                else:
                    self.ordered_to_run(deciding[-1], node, key)
            publish(feeds, effects)

        async def taken(heads: Heads, message: Any) -> Any:
            orders = await take(heads, message)
            node = heads._context.system.node
            if (orders.put or orders.removed) and not self._is_dead(node):
                self.obeys(node, message.node, message.life)
            return orders

        with ExitStack() as patches:
            patches.enter_context(patch.object(Controller, "_carry_out", carry_out))
            patches.enter_context(patch.object(HeadFeeds, "publish", seen))
            patches.enter_context(patch.object(Heads, "take", taken))
            yield

    def _is_dead(self, name: str) -> bool:
        node = self._cluster.nodes.get(name)
        return node is None or node.dead


def _name(key: ReplicaKey) -> str:
    return f"{key} ({key.uid[:6]})"
