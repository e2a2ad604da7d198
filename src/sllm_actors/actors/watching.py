"""Who watches whom: exactly one ``Down`` for each monitor, on this node and between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .exits import GONE, Down, ExitReason, Failed, MonitorId, NodeDown, parse
from .identity import Address, Incarnation, NodeId

if TYPE_CHECKING:
    from .actor_cell import ActorCell
    from .cell import Cell
    from .reference import ActorRef
    from .system import ActorSystem


MOST_GUESTS: Final = 2**16
"""Monitors that one peer may hold on actors here; a further one is told at once that it is refused."""


class Monitors:
    """The tables of a system's monitors.

    A monitor is known at the watcher (``OwnedResources.watching``) until its ``Down`` is handled or it is
    taken back, and at one more place: at the target (``cell.watchers``) if that lives here, else in
    ``_abroad``.

    ``_guests`` are monitors that other nodes hold on actors here, by peer and by the peer's number for each.
    In ``cell.watchers`` they have the key ``(peer, number)`` and no value; a monitor of this node has its
    number as the key, and the watcher and its ref as the value.

    Attributes:
        refused: Monitors that peers wanted beyond ``MOST_GUESTS``, ever.
    """

    __slots__ = ("_abroad", "_guests", "_last", "_system", "refused")

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._last = 0
        self._abroad: dict[int, tuple[ActorCell, ActorRef]] = {}
        self._guests: dict[NodeId, dict[int, Cell]] = {}
        self.refused = 0

    def __len__(self) -> int:
        """Return how many monitors cross to or from other nodes."""
        return len(self._abroad) + sum(len(guests) for guests in self._guests.values())

    # ---- held by actors here

    def add(self, watcher: ActorCell, ref: ActorRef) -> MonitorId:
        """Begin to watch."""
        self._last = watch = self._last + 1
        monitor = MonitorId(watch)
        watching = watcher.owned_resources().watching
        watching[monitor] = None
        if ref.address.node == self._system.node:
            target = self._system.resolve(ref)
            if target is None or target.dead:
                watcher.notify(Down(ref, GONE, monitor))
            else:
                if target.watchers is None:
                    target.watchers = {}
                target.watchers[watch] = (watcher, ref)
                watching[monitor] = target
        elif self._system.network is None:
            watcher.notify(Down(ref, NodeDown("this system has no network"), monitor))
        else:
            self._abroad[watch] = (watcher, ref)
            self._system.network.monitor(ref.address, watch)
        return monitor

    def remove(self, watcher: ActorCell, monitor: MonitorId) -> None:
        """End a monitor; nothing if it is over already."""
        watching = watcher.owned_resources().watching
        if monitor in watching:
            self._drop(monitor, watching.pop(monitor))

    def unwatch_all(self, watching: dict[MonitorId, Cell | None]) -> None:
        """End all monitors of a watcher that has ended."""
        for watch, target in watching.items():
            self._drop(watch, target)

    def _drop(self, watch: int, target: Cell | None) -> None:
        if target is not None:
            if target.watchers is not None:
                target.watchers.pop(watch, None)
            return
        entry = self._abroad.pop(watch, None)
        if entry is not None and self._system.network is not None:
            self._system.network.demonitor(entry[1].address, watch)

    # ---- what happens to targets

    def ended(self, target: Cell, reason: ExitReason) -> None:
        """Send each watcher of an actor here that has ended its ``Down``."""
        watchers, target.watchers = target.watchers, None
        for key, value in (watchers or {}).items():
            if isinstance(key, int):
                watcher, ref = value
                watcher.notify(Down(ref, reason, MonitorId(key)))
                continue
            peer, watch = key
            if watch in self._guests.get(peer, ()):  # it has not lost interest meanwhile
                self._forget_guest(peer, watch)
                self._signal(peer, watch, str(reason))

    def on_down(self, peer: NodeId, watch: int, reason: str) -> None:
        """A watched actor of another node has ended; ignored when nobody watches it any more."""
        entry = self._abroad.get(watch)
        if entry is not None and entry[1].address.node == peer:
            self._down_abroad(watch, parse(reason))

    def on_peer_down(self, peer: NodeId, incarnation: Incarnation, reason: str) -> None:
        """A life of a peer is over: its actors are down, and its monitors on actors here end."""
        for watch in [
            watch for watch, (_, ref) in self._abroad.items() if _lived(ref.address, peer, incarnation)
        ]:
            self._down_abroad(watch, NodeDown(reason))
        for watch in list(self._guests.get(peer, ())):
            self.on_demonitor(peer, watch)

    def _down_abroad(self, watch: int, reason: ExitReason) -> None:
        watcher, ref = self._abroad.pop(watch)
        watcher.notify(Down(ref, reason, MonitorId(watch)))

    # ---- held by other nodes

    def on_monitor(self, peer: NodeId, target: Address, watch: int) -> None:
        """A peer monitors an actor here. It is told at once if the actor is gone, or it monitors too many."""
        cell = self._system.find(target)
        guests = self._guests.get(peer, {})
        if cell is None:
            self._signal(peer, watch, str(GONE))
        elif watch in guests:
            pass  # it came twice
        elif len(guests) >= MOST_GUESTS:
            self.refused += 1
            refusal = Failed("MonitorRefused", f"node {peer} watches {len(guests)} actors here already")
            self._signal(peer, watch, str(refusal))
        else:
            if cell.watchers is None:
                cell.watchers = {}
            cell.watchers[peer, watch] = None
            self._guests.setdefault(peer, guests)[watch] = cell

    def on_demonitor(self, peer: NodeId, watch: int) -> None:
        """A peer ends its monitor of an actor here."""
        if watch in self._guests.get(peer, ()):
            cell = self._forget_guest(peer, watch)
            if cell.watchers is not None:
                del cell.watchers[peer, watch]

    def forget_guests(self) -> None:
        """End all monitors of peers: this node begins a new life, and they take the former one for down."""
        for peer, guests in list(self._guests.items()):
            for watch in list(guests):
                self.on_demonitor(peer, watch)

    def _forget_guest(self, peer: NodeId, watch: int) -> Cell:
        guests = self._guests[peer]
        cell = guests.pop(watch)
        if not guests:
            del self._guests[peer]
        return cell

    def _signal(self, peer: NodeId, watch: int, reason: str) -> None:
        if self._system.network is not None:
            self._system.network.down(peer, watch, reason)


def _lived(address: Address, peer: NodeId, incarnation: Incarnation) -> bool:
    """Whether an actor's address ends with that life of the peer (a name belongs to whichever life it is)."""
    return address.node == peer and (address.incarnation is None or address.incarnation <= incarnation)
