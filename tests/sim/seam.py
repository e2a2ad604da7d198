"""What passes between actors and transport in a run, watched from both sides of the seam."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio
from attrs import define

from sllm_actors.actors import Address, Envelope, Incarnation, NodeId, Outcome, ReplyTo, Spec
from sllm_actors.actors.cell import Cell, Parent
from sllm_actors.actors.dead_letters import DeadLetters
from sllm_actors.testing import TestSystem
from sllm_actors.transport import Transport
from sllm_actors.transport.data_lane import DataLane

from .people import Note, Question

if TYPE_CHECKING:
    from .nodes import SimNode


class WatchedDeadLetters(DeadLetters):
    """Tells the ledger which messages it got."""

    def __init__(self, owner: SimNode) -> None:
        super().__init__()
        self._owner = owner

    def count(self, message: Any, target: Address, reason: str, now: float) -> None:
        if isinstance(message, Note | Question):
            self._owner.world.ledger.buried(message.stamp.number)
        super().count(message, target, reason, now)


class WatchedSystem(TestSystem):
    """An actor system that shows the ledger what the transport reports, and which actors come and go."""

    def __init__(self, owner: SimNode, **more: Any) -> None:
        super().__init__(**more)
        self._owner = owner
        self.dead_letters = WatchedDeadLetters(owner)

    def make_cell(self, spec: Spec, parent: Parent) -> Cell:
        cell = super().make_cell(spec, parent)
        self._owner.families.made(cell)
        return cell

    def forget(self, cell: Cell) -> None:
        self._owner.families.ended(cell)
        super().forget(cell)

    def on_envelope(self, peer: NodeId, envelope: Envelope, reply_to: ReplyTo | None) -> None:
        owner, message = self._owner, envelope.message
        if isinstance(message, Note | Question) and not owner.dead:
            stamp = message.stamp
            owner.world.ledger.arrives(owner.name, self.incarnation, stamp.node, stamp.origin)
        super().on_envelope(peer, envelope, None if reply_to is None else self._once(reply_to))

    def _once(self, reply_to: ReplyTo) -> ReplyTo:
        answers = 0

        def reply(outcome: Outcome) -> None:
            nonlocal answers
            answers += 1
            if answers > 1:
                self._owner.violated("I5", "an ask was answered twice")
            reply_to(outcome)

        return reply

    def on_monitor(self, peer: NodeId, target: Address, watch: int) -> None:
        self._owner.signalled("monitor", peer, watch)
        super().on_monitor(peer, target, watch)

    def on_demonitor(self, peer: NodeId, target: Address, watch: int) -> None:
        self._owner.signalled("demonitor", peer, watch)
        super().on_demonitor(peer, target, watch)

    def on_down(self, peer: NodeId, watch: int, reason: str) -> None:
        self._owner.signalled("Down", peer, watch)
        super().on_down(peer, watch, reason)

    def on_peer_down(self, peer: NodeId, incarnation: Incarnation, reason: str) -> None:
        owner = self._owner
        if not owner.dead:
            life = owner.transport.identity.incarnation
            owner.world.ledger.peer_lost(owner.name, life, peer, incarnation, reason)
            owner.network.check_lost(peer, incarnation)
        super().on_peer_down(peer, incarnation, reason)


@define(eq=False)
class _Open:
    """An ask that the transport has not answered yet, and the lane that it went to."""

    target: Address
    lane: DataLane
    life: Incarnation
    since: float


class WatchedNetwork:
    """``actors.network.Network``: the transport, and a list of the asks that it owes an outcome."""

    def __init__(self, owner: SimNode, transport: Transport) -> None:
        self._owner = owner
        self._transport = transport
        self._asks: dict[int, _Open] = {}
        self._numbers = 0
        self.tell = transport.tell
        self.monitor = transport.monitor
        self.demonitor = transport.demonitor
        self.down = transport.down

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        """See ``Network``."""
        self._numbers = number = self._numbers + 1
        outcomes = 0
        forgotten = False

        def reply(outcome: Outcome) -> None:
            nonlocal outcomes
            outcomes += 1
            self._asks.pop(number, None)
            if outcomes > 1 or forgotten:
                self._owner.violated(
                    "I5", f"the transport answered an ask {'late' if forgotten else 'twice'}"
                )
            reply_to(outcome)

        def forget() -> None:
            nonlocal forgotten
            forgotten = True
            self._asks.pop(number, None)
            forget_it()

        forget_it = self._transport.ask(envelope, reply)
        link = self._transport._peer_table.links.get(envelope.target.node)
        if not outcomes:
            if link is None or link.lane is None:
                self._owner.violated("I5", f"an ask to {envelope.target} went nowhere")
            else:
                now = trio.current_time()
                self._asks[number] = _Open(envelope.target, link.lane, link.peer.incarnation, now)
        return forget

    def check_lost(self, peer: NodeId, incarnation: Incarnation) -> None:
        """I5: a peer is lost, and no ask waits for it any more."""
        for ask in self._asks.values():
            if ask.target.node == peer and ask.life == incarnation:
                self._owner.violated("I5", f"{peer} is lost, and an ask of {ask.since:.3f} waits for it")

    def check_lanes(self) -> None:
        """I5: no ask waits for a lane that another has replaced."""
        for ask in self._asks.values():
            link = self._transport._peer_table.links.get(ask.target.node)
            if link is None or link.lane is not ask.lane:
                self._owner.violated("I5", f"an ask of {ask.since:.3f} to {ask.target} waits for a lost lane")
