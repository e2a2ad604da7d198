"""The head's actor: a thin shell around the picture.

It turns messages and changes of links into events, and carries out what follows: orders to workers, routes
to gateways, writes to the store, the journal. It may be restarted at any moment: deployments are in the
store, and workers report their replicas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from anyio import to_thread
from anyio.lowlevel import checkpoint
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, Alarm, ExitReason, NodeId
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.transport import Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp

from .change_requests import ChangeRequest, ChangeRequests, Committed, Inspected, ZonesRead
from .differences.feed import TICK_INTERVAL
from .differences.messages import Beat
from .head_feeds import HeadFeeds
from .identities import Identities, NoIdentities
from .inspection import ask_document
from .journal.journal import Journal
from .journal.noted import Noted
from .journal_questions import JournalQuestions
from .keys.changes import KeyChanges, KeyCommitted
from .keys.messages import ADMIN, KeyRequest, KnownKey
from .links.known_links import LOOK_INTERVAL, KnownLinks
from .links.outbidding import EpochRaised, Outbid, Outbidding
from .messages import (
    GATEWAY,
    WORKER,
    GatewayNamed,
    RefusedSoFar,
    ReportDeath,
    WorkerInventory,
    WorkersUnreached,
)
from .picture.audit import Audit
from .picture.effects import Effects
from .picture.events import (
    DemandReported,
    DocumentRead,
    Event,
    GatewayCalled,
    GatewayCutOff,
    InventoryReported,
    NodeLost,
    NodeUp,
    NumbersReserved,
    RefusalsCounted,
    ReplicasReported,
    TimePassed,
)
from .picture.picture import Picture
from .pulls.messages import PlanPull
from .pulls.plan import plan_pull
from .reports import DemandReports, WorkerReports
from .store.problem import StoreProblem
from .store.records import StoredState
from .store.store import Store
from .store.writer import StoreWriter
from .store.writes import RaiseEpoch
from .streams import (
    AskAddresses,
    AskDeaths,
    AskKeys,
    AskOrders,
    AskRoutes,
    DemandDifference,
    DemandPage,
    ReplicasDifference,
    ReplicasPage,
)
from .views.answers import answer
from .views.messages import JournalQuestion, Question

log = structlog.get_logger("sllm_actors.controller")

HOLD = 0.005
"""Seconds that messages which come together are handled until the event loop has its turn."""

GATHER = 0.005
"""Seconds from an event until what it touches is planned, with all that others have touched meanwhile."""

AUDIT_INTERVAL = 1.0
"""Seconds between two looks at a part of the picture."""

READ_FIRST = 1_000
"""Entries of the journal that are read at the start; older ones are read when somebody asks for them."""

AUDITED = 16
"""Nodes and deployments that are checked before the clock is looked at."""


@frozen
class _Plan:
    """Plan what the events since the last plan have touched."""


@frozen
class _Due:
    """Something of the picture may be due."""


@frozen
class _Tick:
    """Send the beats that are due."""


@frozen
class _Audit:
    """Check a little more of the picture."""


@frozen
class _Look:
    """Look at who is linked."""


@frozen
class _Learned:
    """Something that a task has found out."""

    events: tuple[Event, ...]


class Controller(Actor):
    """The head's actor; see the module.

    Args:
        store: An open store; it is used in threads, and closed by whoever opened it.
        peers: Returns the nodes that are linked now.
        doubted: Returns those of them that may be gone, see ``PeerDoubted``.
        settle_time: Seconds to wait for workers after a start, see ``Picture``.
        grace: Seconds that a worker may be without a link before its replicas are replaced.
        picture: Makes the picture.
        identities: Knows whose each node id is; None where nobody has to be forgotten.
        admin_digest: That of the head's admin key, which gateways take, too; "" for none.
    """

    def __init__(
        self,
        store: Store,
        *,
        peers: Callable[[], tuple[Peer, ...]],
        doubted: Callable[[], frozenset[NodeId]] = frozenset,
        settle_time: float = 10.0,
        grace: float = 10.0,
        picture: Callable[..., Picture] = Picture,
        identities: Identities | None = None,
        admin_digest: str = "",
    ) -> None:
        self._store = store
        self._make_picture = picture
        self._identities = identities or NoIdentities()
        self._admin_digest = admin_digest
        self._linked, self._doubted = peers, doubted
        self._links = KnownLinks()
        self._times = (settle_time, grace)
        self._writer = StoreWriter(store, self._reserved)
        self._waiting_gateways: set[str] = set()
        self._planning = False
        self._go_on_until = 0.0

    async def started(self) -> None:
        """Read the store, raise the epoch, and take the nodes that are linked already."""
        state = await to_thread.run_sync(self._store.load)
        epoch = state.epoch + 1
        await to_thread.run_sync(self._store.apply, [RaiseEpoch(epoch)])
        newest = await to_thread.run_sync(self._store.journal, READ_FIRST)
        self._journal = Journal(newest, time.time(), whole=len(newest) < READ_FIRST)
        self._picture = await to_thread.run_sync(self._open_picture, state)
        self._feeds = HeadFeeds(self.context.system.node, epoch, self._worker)
        self._keys = KeyChanges(
            self.context, state.api_keys, self._writer, self._feeds.publish_keys, self._note
        )
        if self._admin_digest:
            self._feeds.publish_keys((KnownKey(ADMIN, self._admin_digest, admin=True),), ())
        self._outbidding = Outbidding(self.context, self._writer, self._feeds)
        self._reports = WorkerReports(self.context.system.node, self._worker)
        self._demand = DemandReports(self.context.system.node, self._gateway)
        first = self._picture.effects()
        await to_thread.run_sync(self._feeds.publish, first)  # to nobody yet: it fills the table of routes
        self._alarm = Alarm(self.context, _Due())
        self._audit = Audit(self._picture, self._feeds.orders_of)
        self._questions = JournalQuestions(self.context, self._store, self._journal, self._picture)
        self._requests = ChangeRequests(
            self.context, self._picture, self._writer, self._happen, self._identities
        )
        self.context.start_soon(self._writer.run)
        self.context.after(TICK_INTERVAL, _Tick())
        self.context.after(AUDIT_INTERVAL, _Audit())
        self.context.after(LOOK_INTERVAL, _Look())
        self._record(first)
        self._look()
        self._plan_soon()

    async def stopped(self, reason: ExitReason) -> None:
        """Write, after a normal end, what waits, and what was not worth a write before."""
        if not reason.is_normal:
            return
        self._writer.behind(self._picture.last_writes(self.context.now()))
        try:
            await self._writer.write_all()
        except StoreProblem as problem:
            log.error("controller.not_all_written", problem=str(problem))  # noqa: TRY400 - a full disk is no bug

    def _open_picture(self, state: StoredState) -> Picture:
        settle_time, grace = self._times
        now, wall = self.context.now(), time.time()
        return self._make_picture(state, now=now, wall=wall, settle_time=settle_time, grace=grace)

    async def receive(self, message: Any) -> Any:
        """Take a report, a change of a link, a question, or a control request (to which it answers)."""
        if time.perf_counter() >= self._go_on_until:
            await checkpoint()
            self._go_on_until = time.perf_counter() + HOLD
        match message:
            case ReplicasDifference(node) | ReplicasPage(node):
                self._take_news(self._reports.take(node, message))
            case DemandDifference(node) | DemandPage(node):
                self._take_news(self._demand.take(node, message))
            case Beat(node=node):
                self._take_news(self._reports.take(node, message))
                self._take_news(self._demand.take(node, message))
            case WorkerInventory():
                self._inventory(message)
            case GatewayNamed() | WorkersUnreached() | RefusedSoFar():
                self._node_said(message)
            case AskOrders() | AskRoutes() | AskAddresses() | AskDeaths() | AskKeys():
                self._feeds.answer(message)
            case ReportDeath():
                self._feeds.engine_died(message, self.context.now())
            case _Plan() | _Tick() | _Look() | _Due() | _Audit():
                self._time_has_come(message)
            case PeerUp() | PeerDoubted() | PeerTrusted() | PeerLost():
                self._linked_otherwise(message)
            case _Learned(events):
                for event in events:
                    self._take(event)
            case ZonesRead() | Inspected() | Committed():
                self._requests.go_on(message)
            case KeyCommitted():
                self._keys.go_on(message)
            case Outbid() | EpochRaised():
                self._outbidding.go_on(message)
            case _:
                return await self._asked(message)
        return None

    def _time_has_come(self, what: _Plan | _Tick | _Look | _Due | _Audit) -> None:
        match what:
            case _Plan():
                self._planning = False
                self._plan()
            case _Tick():
                self.context.after(TICK_INTERVAL, _Tick())
                self._feeds.tick(self.context.now())
                self._questions.tick(self.context.now())
            case _Look():
                self.context.after(LOOK_INTERVAL, _Look())
                self._look()
            case _Due():
                self._alarm.rang()
                self._take(TimePassed())
            case _Audit():
                self.context.after(AUDIT_INTERVAL, _Audit())
                self._audit_some()

    async def _asked(self, message: Any) -> Any:
        match message:
            case PlanPull():
                return plan_pull(self._picture, message)
            case _ if isinstance(message, Question):
                return answer(self._picture, message, self.context.now(), self._journal.about)
            case _ if isinstance(message, JournalQuestion):
                return self._questions.take(message)
            case _ if isinstance(message, ChangeRequest):
                return self._requests.take(message)
            case _ if isinstance(message, KeyRequest):
                return self._keys.take(message)
            case _:
                return await super().receive(message)

    # ---- nodes and reports

    def _look(self) -> None:
        """Notice links of which the news was lost in a full mailbox."""
        linked = self._linked()
        gone, new = self._links.missed(linked)
        for peer in gone:
            self._link_lost(peer, "its link is gone")
        for peer in new:
            self._link_up(peer)
        doubted, up = self._doubted(), self._picture.fleet.workers_up
        for peer in linked:
            if peer.role == "worker" and peer.node not in up and peer.node not in doubted:
                self._link_up(peer)

    def _linked_otherwise(self, event: PeerUp | PeerDoubted | PeerTrusted | PeerLost) -> None:
        match event:
            case PeerUp(peer):
                self._link_up(peer)
            case PeerLost(peer, reason, left):
                self._link_lost(peer, reason, left=left)
            case PeerDoubted(Peer(role="worker") as peer, reason):
                self._take(NodeLost(peer.node, peer.incarnation, reason))
            case PeerTrusted(Peer(role="worker") as peer):
                self._link_up(peer)  # what was on its way is asked for again

    def _link_up(self, peer: Peer) -> None:
        node = peer.node
        self._links.up(peer)
        self._take(NodeUp(node, peer.role, peer.host, peer.incarnation))
        if peer.role == "worker":
            self._feeds.worker_up(node)
            self._take_news(self._reports.begin(node))
        elif peer.role == "gateway":
            self._waiting_gateways.add(node)

    def _link_lost(self, peer: Peer, reason: str, *, left: bool = False) -> None:
        self._take(NodeLost(peer.node, peer.incarnation, reason, left))
        if not self._links.lost(peer):
            return
        if peer.role == "worker":
            self._feeds.worker_lost(peer.node)
            self._outbidding.lost(peer.node)
        elif peer.role == "gateway":
            self._waiting_gateways.discard(peer.node)
            self._feeds.gateway_lost(peer.node)
            self._demand.forget(peer.node)

    def _node_said(self, said: GatewayNamed | WorkersUnreached | RefusedSoFar) -> None:
        if isinstance(said, GatewayNamed):
            self._take(GatewayCalled(said.node, said.name, said.host))
        elif isinstance(said, RefusedSoFar):
            here = said.node == self.context.system.node
            self._take(RefusalsCounted("" if here else said.node, said.counts))
        else:
            self._take(GatewayCutOff(said.node, said.workers))

    def _inventory(self, said: WorkerInventory) -> None:
        self._take(InventoryReported(said.node, said.inventory, said.changes))
        if said.node in self._picture.fleet.workers_up:
            self._outbidding.said(said)

    def _take_news(self, reported: ReplicasReported | DemandReported | None) -> None:
        if reported is not None:
            self._take(reported)

    def _forget(self, node: str) -> None:
        if node in self._picture.fleet.nodes:
            return  # it has come back meanwhile
        self._feeds.forget_worker(node)
        self._reports.forget(node)

    async def _read_document(self, node: str, key: ReplicaKey) -> None:
        document = await ask_document(self._worker(node), key)
        self.context.after(0.0, _Learned((DocumentRead(key.uid, key.revision, document),)))

    # ---- events in, effects out

    def _happen(self, events: tuple[Event, ...]) -> None:
        """Take events whose effects are wanted at once."""
        for event in events:
            self._take(event)
        self._plan()

    def _take(self, event: Event) -> None:
        self._picture.take(event, self.context.now())
        self._plan_soon()

    def _plan_soon(self) -> None:
        """Plan a moment later: what messages that come together touch is planned once."""
        if not self._planning:
            self._planning = True
            self.context.after(GATHER, _Plan())

    def _plan(self) -> None:
        now = self.context.now()
        self._picture.plan(now)
        self._carry_out(self._picture.effects())
        self._tell_gateways()
        if self._picture.more and not self._planning:
            self._planning = True
            self.context.after(0.0, _Plan())
        self._alarm.set(self._picture.due(), now)

    def _tell_gateways(self) -> None:
        """Let gateways follow that came since the last plan: after a start, all routes are known by now."""
        for node in sorted(self._waiting_gateways):
            self._feeds.gateway_up(node, self._gateway(node))
            self._take(self._demand.begin(node, self._picture.demand.keys_of(node)))
        self._waiting_gateways.clear()

    def _carry_out(self, effects: Effects) -> None:
        self._feeds.publish(effects)
        for node in effects.forgotten:
            self._forget(node)
        for node in effects.removed:
            self._identities.forget(node, linked=node in self._picture.fleet.nodes)
        self._record(effects)

    def _record(self, effects: Effects) -> None:
        self._writer.behind(effects.writes, effects.numbers)
        for node, key in effects.documents:
            self.context.start_soon(self._read_document, node, key)
        self._note(effects.journal)

    def _note(self, noted: Iterable[Noted]) -> None:
        entries = self._journal.note(noted, time.time(), self.context.now())
        self._writer.note(entries)
        self._questions.noted(entries)

    def _audit_some(self) -> None:
        """Check nodes and deployments for at most ``HOLD``, each once: nothing should ever be found."""
        self._plan()  # so that nothing is on its way
        until = time.perf_counter() + HOLD
        while time.perf_counter() < until:
            for sentence in self._audit.slice(AUDITED):
                log.error("picture.inconsistent", sentence=sentence)
            if self._audit.round_is_over:
                break

    def _reserved(self, numbers: Mapping[str, int]) -> None:
        events = tuple(NumbersReserved(uid, below) for uid, below in numbers.items())
        self.context.after(0.0, _Learned(events))

    def _worker(self, node: str) -> ActorRef:
        return self.context.system.named(WORKER, NodeId(node))

    def _gateway(self, node: str) -> ActorRef:
        return self.context.system.named(GATEWAY, NodeId(node))
