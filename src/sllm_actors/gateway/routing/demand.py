"""Telling the head what the clients of this gateway want: what goes into the stream, and when."""

from __future__ import annotations

from sllm_actors.actors import ActorRef
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.messages import Demand
from sllm_actors.serving.streams import DEMAND, AskDemand

from .balancer import Balancer


class DemandFeed:
    """Publishes the stream ``DEMAND`` to the head. All methods are for the gateway's actor, in its turns.

    Args:
        balancer: Knows the demand.
        node: The gateway's node id.
        life: See ``Publisher``.
    """

    def __init__(self, balancer: Balancer, node: str, life: int) -> None:
        self._balancer = balancer
        self._publisher = Publisher(DEMAND, node, life)
        self._head: ActorRef | None = None
        self._at_rest: set[str] = set()  # their entries go with the next report
        for name in balancer.busy():
            self._put(name)

    def follow(self, head: ActorRef) -> None:
        """Let a head follow, in place of another one: it asks for the whole itself."""
        self._head = head
        self.beat()

    def publish(self) -> None:
        """Send what has changed since the last call."""
        changed = self._balancer.take_changed()
        at_rest, self._at_rest = self._at_rest - changed, set()
        for name in at_rest:
            self._publisher.remove(name)
        for name in changed:
            self._put(name)
        for difference in self._publisher.flush():
            if self._head is not None:
                self._head.tell(difference)

    def beat(self) -> None:
        """Send where the publisher is: every ``BEAT_INTERVAL`` seconds."""
        if self._head is not None:
            self._head.tell(self._publisher.beat())

    def answer(self, question: AskDemand, head: ActorRef) -> None:
        """Send the page that a head asked for."""
        self.publish()
        head.tell(self._publisher.page(question.after))

    def _put(self, name: str) -> None:
        balancer, known = self._balancer, self._publisher.get(name)
        held, in_flight = balancer.held(name), balancer.in_flight(name)
        uses, keep_alive = balancer.take_uses(name)
        if not (held or in_flight or uses):
            self._publisher.remove(name)
            return
        if not (held or in_flight):
            self._at_rest.add(name)
        if known is not None:
            uses += known.uses
            keep_alive = known.keep_alive if keep_alive is None else keep_alive
        self._publisher.put(Demand(name, held, in_flight, balancer.ready(name), uses, keep_alive))
