"""The actor system: the root of all supervisors, the tables of who lives here, and the way in and out."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

import anyio
import structlog

from .activity import Activity
from .actor_cell import ActorCell
from .asking import Ask, Port, RemoteAsk
from .cell import Cell, Parent
from .clock import Clock, LoopClock
from .dead_letters import DeadLetters
from .deadlines import Deadlines
from .errors import ActorGone, PeerDown, SystemFailed
from .exits import SHUTDOWN, ExitReason
from .identity import LOCAL_NODE, Address, Incarnation, NodeId
from .jobs import Job
from .lifetime import Lifetime
from .network import NO_METADATA, Envelope, Network, ReplyTo
from .reference import ActorRef
from .runners import Runners
from .specs import ChildSpec, Spec, SupervisorSpec
from .statistics import MailboxStatistics, SystemStatistics
from .supervisor import SupervisorCell
from .wakeup import Wakeup, wakeups
from .watching import Monitors

log = structlog.get_logger("sllm_actors.actors")

REFUSALS_PER_LINE: Final = 1000
"""Monitors refused to peers for each line in the log: the first of so many is logged."""


class ActorSystem(Parent):
    """Everything that lives in one process of the cluster. An async context manager that owns all its tasks.

    Leaving the context stops everything, in reverse start order and within each child's budget. A context
    that is cancelled stops in the same way, but gets no more than ``cancelled_budget`` seconds before
    everything is killed.

    Args:
        node: The id of this node.
        incarnation: This life of the node; may be replaced at run time by setting ``incarnation``.
        network: What carries messages to other nodes; may come later, by ``attach``.
        rng: Where back-off jitter comes from.
        clock: Where the time comes from.
        max_restarts: How many restarts within ``window`` seconds the root supervisor, and each actor's own
            supervisor, endures.
        window: The sliding window of ``max_restarts``, in seconds.
        cancelled_budget: Seconds; see above.

    Raises:
        SystemFailed: From the context, when the root supervisor gave up; the context's body is cancelled.
    """

    def __init__(
        self,
        *,
        node: NodeId = LOCAL_NODE,
        incarnation: Incarnation | None = None,
        network: Network | None = None,
        rng: random.Random | None = None,
        clock: Clock | None = None,
        max_restarts: int = 3,
        window: float = 5.0,
        cancelled_budget: float = 10.0,
    ) -> None:
        self.node = node
        self.network = network
        self.rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self.clock: Clock = clock or LoopClock()
        self._incarnation = incarnation or Incarnation(0, self.rng.getrandbits(64))
        self._cancelled_budget = cancelled_budget
        self._cells: dict[int, Cell] = {}
        self._names: dict[str, Cell] = {}
        self._last_number = 0
        self.runners = Runners()
        self.wakeup: Callable[[], Wakeup] = anyio.Event  # until the event loop is known
        self.deadlines = Deadlines(self.clock)
        self.monitors = Monitors(self)
        self.dead_letters = DeadLetters()
        self.asks = 0
        self.late_replies = 0
        self.restarts = 0
        self._jobs = 0
        self._own = SupervisorSpec("children", max_restarts=max_restarts, window=window)
        root = SupervisorSpec("root", max_restarts=max_restarts, window=window)
        self._root = SupervisorCell(self, self._next_number(), root, self)
        self._cells[self._root.number] = self._root
        self._failure: ExitReason | None = None
        self._life = Lifetime()

    # ---- life

    async def __aenter__(self) -> Self:
        await self._life.enter(self.deadlines.run)
        self.wakeup = wakeups()
        self.runners.open(self._life.tasks, self.wakeup)
        self._root.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        try:
            swallowed = await self._life.leave(
                exc,
                stop=lambda: self._root.stop(SHUTDOWN),
                kill=self._root.kill,
                budget=self._cancelled_budget,
            )
        finally:
            self.runners.close()
        if self._failure is not None and (exc is None or swallowed):
            raise SystemFailed(self._failure)
        return swallowed

    async def stop(self) -> None:
        """Stop everything that was started, in reverse order and within budgets; return when it has ended.

        Not to be awaited by an actor of this system: it would wait for itself.

        Raises:
            RuntimeError: The system has not been entered.
        """
        self._check_entered()
        self._root.stop(SHUTDOWN)
        await self._life.ended.wait()

    # ---- for everybody

    @property
    def incarnation(self) -> Incarnation:
        """This life of the node. Setting a new one makes the refs that peers hold stale; actors live on."""
        return self._incarnation

    @incarnation.setter
    def incarnation(self, incarnation: Incarnation) -> None:
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self.monitors.forget_guests()

    async def start(self, spec: ChildSpec | SupervisorSpec) -> ActorRef:
        """Start a child of the root supervisor (``one_for_one``) and wait until it is up.

        If the wait is cancelled, the child is stopped again.

        Raises:
            StartFailed: The child did not come up (or is not needed, see ``StartIgnored``), and is not kept.
            RuntimeError: The system has not been entered.
        """
        self._check_entered()
        return await self._root.start_child(spec)

    async def stop_child(self, child_id: str) -> None:
        """Stop what ``start`` started under that id, wait until it has ended, and forget it.

        Raises:
            StartFailed: There is no such child, or the system is stopping.
        """
        await self._root.stop_child(child_id)

    def named(self, name: str, node: NodeId | None = None) -> ActorRef:
        """Return a ref that reaches whoever goes by the name, here or on ``node``, each time it is used."""
        return ActorRef(self, self.node if node is None else node, name)

    def ref(self, address: Address) -> ActorRef:
        """Return the ref to an address. It may be stale: then what is sent to it reaches nobody."""
        if address.node == self.node and address.incarnation == self._incarnation:
            cell = self.find(address)
            if cell is not None:
                return cell.ref
        return ActorRef(self, address.node, address.key, address.incarnation)

    def address_of(self, ref: ActorRef) -> Address:
        """Return the address of a ref as another node is to be told it now."""
        return ref.address

    def whereis(self, name: str) -> ActorRef | None:
        """Return the incarnation that is registered here under a name now, or None."""
        cell = self._names.get(name)
        return None if cell is None else cell.ref

    def attach(self, network: Network) -> None:
        """Send messages to other nodes over this network from now on."""
        self.network = network

    def statistics(self) -> SystemStatistics:
        """Count what there is; takes time in proportion to the number of actors."""
        actors = [cell for cell in self._cells.values() if isinstance(cell, ActorCell)]
        depths = [cell.mailbox.held for cell in actors]
        return SystemStatistics(
            actors=len(actors),
            supervisors=len(self._cells) - len(actors),
            names=len(self._names),
            queued_messages=sum(depths),
            queued_bytes=sum(cell.mailbox.weight for cell in actors),
            deepest_mailbox=max(depths, default=0),
            pending_asks=self.asks,
            deadlines=len(self.deadlines),
            jobs=self._jobs,
            runners=self.runners.count,
            remote_monitors=len(self.monitors),
            refused_monitors=self.monitors.refused,
            dead_letters=self.dead_letters.total,
            dead_letters_by_reason=dict(self.dead_letters.by_reason),
            late_replies=self.late_replies,
            restarts=self.restarts,
        )

    def mailbox_statistics(self, ref: ActorRef) -> MailboxStatistics | None:
        """Look at one mailbox; None for a supervisor, an actor of another node, and one that has ended."""
        cell = self.resolve(ref)
        if not isinstance(cell, ActorCell) or cell.dead:
            return None
        mailbox = cell.mailbox
        return MailboxStatistics(mailbox.held, mailbox.weight, mailbox.rejected, mailbox.limits)

    # ---- for refs that hold no cell

    def send(self, ref: ActorRef, message: Any, activity: Activity | None) -> None:
        """Tell by name, or to another node, or to nobody."""
        metadata = NO_METADATA if activity is None else activity.tell_metadata
        target = ref.address
        cell = self.find(target)
        if cell is not None:
            cell.deliver(message, None, metadata)
            return
        if target.node == self.node:
            self.dead_letters.count(message, target, _nobody(target), self.clock.now())
        elif self.network is None:
            self.dead_letters.count(message, target, "this system has no network", self.clock.now())
        else:
            sender = None if activity is None else activity.address
            self.network.tell(Envelope(target, message, sender, None, metadata))

    def send_ask(
        self, ref: ActorRef, message: Any, ask: Ask, timeout: float, activity: Activity | None
    ) -> None:
        """Ask by name, or another node, or nobody."""
        metadata = NO_METADATA if activity is None else activity.ask_metadata
        target = ref.address
        cell = self.find(target)
        if cell is not None:
            cell.deliver(message, ask, metadata)
            return
        if target.node == self.node:
            self.dead_letters.count(message, target, _nobody(target), self.clock.now())
            ask.resolve(ActorGone(f"{target}: {_nobody(target)}"))
        elif self.network is None:
            self.dead_letters.count(message, target, "this system has no network", self.clock.now())
            ask.resolve(PeerDown(target.node, "this system has no network"))
        else:
            sender = None if activity is None else activity.address
            ask.forget = self.network.ask(Envelope(target, message, sender, timeout, metadata), ask.resolve)

    def resolve(self, ref: ActorRef) -> Cell | None:
        """Return the cell that a ref reaches here now."""
        if ref.cell is None:
            return self.find(ref.address)
        assert isinstance(ref.cell, Cell)
        return ref.cell

    def find(self, address: Address) -> Cell | None:
        """Return the cell at an address of this node and this life of it, or None."""
        if address.node != self.node:
            return None
        if isinstance(address.key, str):
            return self._names.get(address.key)
        return self._cells.get(address.key) if address.incarnation == self._incarnation else None

    # ---- for cells

    def make_cell(self, spec: Spec, parent: Parent) -> Cell:
        """Enter a new actor or supervisor into the tables; its name must be free."""
        cell: Cell
        if isinstance(spec, ChildSpec):
            cell = ActorCell(self, self._next_number(), spec, parent)
        else:
            cell = SupervisorCell(self, self._next_number(), spec, parent)
        self._cells[cell.number] = cell
        if spec.name is not None:
            self._names[spec.name] = cell
        return cell

    def open_supervisor(self, parent: ActorCell) -> SupervisorCell:
        """Make an actor's own supervisor."""
        cell = SupervisorCell(self, self._next_number(), self._own, parent, dynamic=True)
        self._cells[cell.number] = cell
        cell.open()
        return cell

    def forget(self, cell: Cell) -> None:
        """Take an ended cell out of the tables."""
        del self._cells[cell.number]
        if cell.name is not None and self._names.get(cell.name) is cell:
            del self._names[cell.name]

    def run_job(
        self, job: Job, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str
    ) -> None:
        """Run an actor's background work in a task of the system."""
        self._jobs += 1
        self._life.tasks.start_soon(self._run_job, job, func, args, name=name)

    async def _run_job(self, job: Job, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            await job.run(func, args)
        finally:
            self._jobs -= 1

    def _check_entered(self) -> None:
        if not self._life.entered:
            raise RuntimeError("the actor system has not been entered: use it in an `async with`")

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    # ---- the root supervisor reports (cell.Parent)

    def child_started(self, _cell: Cell, /) -> None:
        """The root supervisor is up. It has no children yet: nothing is to be done."""

    def child_not_started(self, cell: Cell, reason: ExitReason, _ignored: bool, /) -> None:
        self.child_ended(cell, reason)

    def child_ended(self, _cell: Cell, reason: ExitReason, /) -> None:
        self._life.ended.set()
        if not reason.is_normal:
            self._failure = reason
            self._life.body.cancel()

    # ---- the network reports (network.Inbound)

    def on_envelope(self, peer: NodeId, envelope: Envelope, reply_to: ReplyTo | None) -> None:  # noqa: ARG002 - network.Inbound
        """Deliver a message that arrived."""
        port: Port | None = None if reply_to is None else RemoteAsk(self, reply_to, envelope.remaining)
        cell = self.find(envelope.target)
        if cell is not None:
            cell.deliver(envelope.message, port, envelope.metadata)
            return
        reason = _nobody(envelope.target)
        if port is not None:
            port.resolve(ActorGone(f"{envelope.target}: {reason}"))
        self.dead_letter(envelope, reason)

    def on_monitor(self, peer: NodeId, target: Address, watch: int) -> None:
        """See ``network.Inbound``."""
        refused = self.monitors.refused
        self.monitors.on_monitor(peer, target, watch)
        if self.monitors.refused > refused and refused % REFUSALS_PER_LINE == 0:
            log.warning("monitor.refused", peer=peer, target=str(target), refused=self.monitors.refused)

    def on_demonitor(self, peer: NodeId, target: Address, watch: int) -> None:  # noqa: ARG002 - network.Inbound
        """See ``network.Inbound``."""
        self.monitors.on_demonitor(peer, watch)

    def on_down(self, peer: NodeId, watch: int, reason: str) -> None:
        """See ``network.Inbound``."""
        self.monitors.on_down(peer, watch, reason)

    def on_peer_down(self, peer: NodeId, incarnation: Incarnation, reason: str) -> None:
        """See ``network.Inbound``."""
        self.monitors.on_peer_down(peer, incarnation, reason)

    def dead_letter(self, envelope: Envelope, reason: str) -> None:
        """See ``network.Inbound``."""
        self.dead_letters.count(envelope.message, envelope.target, reason, self.clock.now())


def _nobody(target: Address) -> str:
    return "nobody goes by that name" if isinstance(target.key, str) else "it has ended"
