"""Deliberate bugs of the control plane: the simulation has to find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakKeyDictionary

from sllm_actors.gateway.routing.balancer import Balancer
from sllm_actors.gateway.routing.following import Following
from sllm_actors.serving.differences.follower import Follower
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.links.known_links import KnownLinks
from sllm_actors.serving.messages import Order
from sllm_actors.serving.picture.eviction.contenders import Contenders
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import DemandTable
from sllm_actors.serving.picture.indices.queues import WaitingQueues
from sllm_actors.serving.picture.planning.ordering import Ordering
from sllm_actors.serving.picture.recovery import Recovery
from sllm_actors.serving.picture.replica import KnownReplica
from sllm_actors.serving.picture.room.need import NOTHING
from sllm_actors.serving.store.writer import StoreWriter
from sllm_actors.serving.worker.heads import Heads
from sllm_actors.serving.worker.orders.assignments import Assignments
from sllm_actors.serving.worker.orders.effects import SayGone

Mutation = Callable[[], AbstractContextManager[object]]


# ---- P1


def room_of_what_drains() -> AbstractContextManager[object]:
    """A replica that was ordered to stop takes no room any more."""
    stop = Ordering.stop

    def early(self: Ordering, replica: KnownReplica, reason: str, *, if_idle: bool = False) -> None:
        node = self._fleet.nodes[replica.node]
        if replica.key in node.replicas and not replica.stop:
            replica.need = NOTHING
            self._fleet.weigh(node)
        stop(self, replica, reason, if_idle=if_idle)

    return patch.object(Ordering, "stop", early)


# ---- P2


def room_is_not_offered() -> AbstractContextManager[object]:
    """Those that wait are not told of room, and are not tried again."""

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patch.object(WaitingQueues, "for_room", lambda *_: iter(())),
            patch.object(Contenders, "next_in_turn", lambda *_: []),
            patch("sllm_actors.serving.picture.eviction.contenders.LOOK_AGAIN", 1e9),
            patch("sllm_actors.serving.picture.eviction.evictor.LOOK_AGAIN", 1e9),
            patch("sllm_actors.serving.picture.planning.planner.RETRY", 1e9),
        ):
            yield

    return both()


# ---- P3


def absence_stops() -> AbstractContextManager[object]:
    """A replica of which there is no order any more is stopped."""

    withdrawn = Assignments.withdrawn

    def stop(self: Assignments, key: Any) -> list[Any]:
        known = self._all.get(key)
        if known is None:
            return withdrawn(self, key)
        return self._stop(key, known, Order(key, None, "there is no order for it"))

    return patch.object(Assignments, "withdrawn", stop)


def strangers_are_stopped() -> AbstractContextManager[object]:
    """A head stops what it does not know: one that has lost its store stops all."""

    def stranger(self: Recovery, replica: KnownReplica, _now: float) -> None:
        self._planner.orders.stop(replica, "nobody has deployed it")

    return patch.object(Recovery, "_stranger", stranger)


# ---- P4


def answers_before_it_writes() -> AbstractContextManager[object]:
    """People are told that what they ask is done, and it is written when the next one asks for something."""
    commit = StoreWriter.commit
    late: WeakKeyDictionary[StoreWriter, Any] = WeakKeyDictionary()

    async def later(self: StoreWriter, writes: Any) -> None:
        await commit(self, late.pop(self, ()))
        late[self] = writes

    return patch.object(StoreWriter, "commit", later)


# ---- P5


def beats_are_not_compared() -> AbstractContextManager[object]:
    """A follower does not notice from a beat that it has missed something."""
    take = Follower.take

    def deaf(self: Follower[Any, Any], message: Any) -> Any:
        if isinstance(message, Beat) and self.complete:
            return take(self, Beat(message.stream, message.node, *(self.position or (0, 0))))
        return take(self, message)

    return patch.object(Follower, "take", deaf)


def gaps_are_not_noticed() -> AbstractContextManager[object]:
    """A follower takes a difference although it has missed the one before."""
    difference = Follower._difference

    def jump(self: Follower[Any, Any], message: Any) -> Any:
        if self._placed and message.life == self._life and message.number > self._number:
            self._number = message.number - 1
        return difference(self, message)

    return patch.object(Follower, "_difference", jump)


def links_are_not_looked_at() -> AbstractContextManager[object]:
    """News of a link that is lost in a full mailbox is lost for good."""

    @contextmanager
    def both() -> Iterator[None]:
        seen: set[int] = set()
        missed = KnownLinks.missed

        def once(self: KnownLinks, peers: Any) -> Any:
            if id(self) in seen:
                return [], []
            seen.add(id(self))
            return missed(self, peers)

        with (
            patch.object(KnownLinks, "missed", once),
            patch.object(Following, "look", lambda *_: []),
        ):
            yield

    return both()


def nothing_is_said_of_what_never_ran() -> AbstractContextManager[object]:
    """A worker does not answer an order to stop what it never heard of."""
    take = Assignments.take

    def silent(self: Assignments, order: Any) -> Any:
        return [each for each in take(self, order) if not isinstance(each, SayGone)]

    return patch.object(Assignments, "take", silent)


def gpus_stay_counted() -> AbstractContextManager[object]:
    """The index of room is not mended when a replica goes."""
    drop = Fleet.drop

    def keep(self: Fleet, replica: KnownReplica) -> None:
        with patch.object(Fleet, "weigh", lambda *_: None):
            drop(self, replica)

    return patch.object(Fleet, "drop", keep)


# ---- P6


def any_epoch_is_obeyed() -> AbstractContextManager[object]:
    """Orders of any head are obeyed, whichever came last."""

    async def obeys(*_: Any) -> bool:
        return True

    return patch.object(Heads, "_obeys", obeys)


# ---- P8


def nobody_waits_for_requests() -> AbstractContextManager[object]:
    """A gateway says of a replica that leaves that it has no requests there, though it has."""

    def at_once(_self: Balancer, _upstream: Any, call: Callable[[], None]) -> None:
        call()

    return patch.object(Balancer, "when_idle", at_once)


# ---- P9


def demand_is_not_heard() -> AbstractContextManager[object]:
    """The head takes no note of requests that wait."""

    def deaf(*_: Any) -> frozenset[str]:
        return frozenset()

    return patch.object(DemandTable, "report", deaf)


MUTATIONS: Final[dict[str, Mutation]] = {
    "": nullcontext,
    **{
        mutation.__name__: mutation
        for mutation in (
            room_of_what_drains,
            room_is_not_offered,
            absence_stops,
            strangers_are_stopped,
            answers_before_it_writes,
            beats_are_not_compared,
            gaps_are_not_noticed,
            links_are_not_looked_at,
            nothing_is_said_of_what_never_ran,
            gpus_stay_counted,
            any_epoch_is_obeyed,
            nobody_waits_for_requests,
            demand_is_not_heard,
        )
    },
}
"""By name; the empty name is the control plane as it is."""
