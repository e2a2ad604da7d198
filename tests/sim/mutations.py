"""Deliberate bugs, each put into the runtime by patching one named function for the length of a run.

A simulation that cannot fail is worth nothing: ``test_mutations.py`` shows that each of these is found. To
see how: ``make sim MUTATION=asks_leak SEEDS=20``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch

from sllm_actors.actors import supervision
from sllm_actors.actors.effects import Effect
from sllm_actors.actors.mailbox import Mailbox
from sllm_actors.actors.owned_resources import OwnedResources
from sllm_actors.actors.supervision_state import ChildPhase, Supervision
from sllm_actors.transport import peer_table as peers
from sllm_actors.transport.admission import Admission, admit
from sllm_actors.transport.control import ControlSession
from sllm_actors.transport.data_lane import DataLane
from sllm_actors.transport.fence import Fences
from sllm_actors.transport.outbox import Outbox
from sllm_actors.transport.peer_link import PeerLink
from sllm_actors.transport.streams.stream import TunnelStream
from sllm_actors.transport.streams.stream_state import StreamState

Mutation = Callable[[], AbstractContextManager[object]]


def control_is_repeated() -> AbstractContextManager[object]:
    """Control messages that are sent again after a reconnect are handled again."""
    receive = ControlSession.receive

    def every(self: ControlSession, body: bytes) -> Any:
        seq = int.from_bytes(body[:8], "big")
        if seq <= self._received:
            return body[8], body[9:]
        return receive(self, body)

    return patch.object(ControlSession, "receive", every)


def control_is_lost() -> AbstractContextManager[object]:
    """Control messages under way when a connection breaks are taken for acknowledged."""

    def forget(self: ControlSession) -> list[bytes]:
        self._sent -= len(self._unacknowledged)
        self._unacknowledged.clear()
        return []

    return patch.object(ControlSession, "resend", forget)


def down_is_lost_with_its_lane() -> AbstractContextManager[object]:
    """A down signal that waits behind queued messages is forgotten when their lane is lost."""
    lost = DataLane.lost

    def forget(self: DataLane, reason: str) -> list[Any]:
        lost(self, reason)
        return []

    return patch.object(DataLane, "lost", forget)


def down_overtakes() -> AbstractContextManager[object]:
    """A down signal does not wait for the messages that were sent before it."""
    return patch.object(Fences, "_passed", lambda *_: True)


def small_overtakes_large() -> AbstractContextManager[object]:
    """A message that fits into the window goes out at once, past those that wait for it."""
    put = Outbox.put

    def jump(self: Outbox, receiver: Any, kind: int, body: bytes, origin: Any = None) -> bool:
        waiting, self._waiting = self._waiting, {}
        try:
            if len(body) < 1_000 and self._in_flight + 2_000 < self._window:
                return put(self, receiver, kind, body, origin)
        finally:
            self._waiting = waiting
        return put(self, receiver, kind, body, origin)

    return patch.object(Outbox, "put", jump)


def messages_are_sent_again() -> AbstractContextManager[object]:
    """User messages that were not acknowledged when a lane broke are sent again on the next one."""
    put, open_data = Outbox.put, PeerLink.open_data
    recent: dict[int, list[tuple[Any, ...]]] = {}

    def remember(self: Outbox, *message: Any) -> bool:
        recent[id(self)] = [*recent.get(id(self), ()), message][-5:]
        return put(self, *message)

    def again(self: PeerLink, lane: DataLane) -> None:
        before = self.lane
        open_data(self, lane)
        if before is not None:
            for message in recent.pop(id(before.outbox), ()):
                put(lane.outbox, *message)

    @contextmanager
    def both() -> Iterator[None]:
        with patch.object(Outbox, "put", remember), patch.object(PeerLink, "open_data", again):
            yield

    return both()


def asks_leak() -> AbstractContextManager[object]:
    """The asks of a lost lane wait for their deadlines."""
    lost = DataLane.lost

    def leak(self: DataLane, reason: str) -> list[Any]:
        self._asks = {}
        return lost(self, reason)

    return patch.object(DataLane, "lost", leak)


def the_dead_return() -> AbstractContextManager[object]:
    """A life that was declared down may link again."""

    def forgive(local: Any, peer: Any, known: Any, _dead: Any, *, dialled: bool) -> Admission:
        return admit(local, peer, known, None, dialled=dialled)

    return patch.object(peers, "admit", forgive)


def stops_in_start_order() -> AbstractContextManager[object]:
    """A supervisor stops its first child first."""
    stop_next = supervision._stop_next

    def first(state: Supervision, effects: list[Effect]) -> None:
        up = [name for name in state.still_up if state.children[name].phase is not ChildPhase.DOWN]
        state.still_up = up[1:] + up[:1]
        stop_next(state, effects)

    return patch.object(supervision, "_stop_next", first)


def rest_is_left_alone() -> AbstractContextManager[object]:
    """Only the child that failed is restarted, whatever the strategy."""
    return patch.object(supervision, "_doom", lambda *_: None)


def restarts_for_ever() -> AbstractContextManager[object]:
    """A supervisor does not count restarts."""
    restart = supervision._restart

    def uncounted(state: Supervision, *arguments: Any) -> None:
        state.restarts.clear()
        restart(state, *arguments)

    return patch.object(supervision, "_restart", uncounted)


def work_outlives_its_actor() -> AbstractContextManager[object]:
    """An actor that ends does not wait for its background work."""

    def cancel(self: OwnedResources) -> bool:
        for job in self.jobs:
            job.scope.cancel()
        return False

    return patch.object(OwnedResources, "cancel_jobs", cancel)


def mailboxes_are_larger() -> AbstractContextManager[object]:
    """A mailbox takes one message more than its limit."""
    make = Mailbox.__init__

    def larger(self: Mailbox, *limits: Any) -> None:
        make(self, *limits)
        self.room += 1

    return patch.object(Mailbox, "__init__", larger)


def breaks_of_streams_are_not_told() -> AbstractContextManager[object]:
    """A stream is not told that its lane was lost."""
    return patch.object(TunnelStream, "broken", lambda *_: None)


def breaks_of_streams_look_orderly() -> AbstractContextManager[object]:
    """A stream whose lane was lost ends as one of which all bytes have come."""
    lose = TunnelStream._lose

    def orderly(self: TunnelStream, error: Exception | None) -> None:
        lose(self, None)

    return patch.object(TunnelStream, "_lose", orderly)


def streams_overtake_themselves() -> AbstractContextManager[object]:
    """What a stream has queued goes out last first."""
    cut = StreamState.cut

    def reversed_cut(self: StreamState, size: int, into: list[Any]) -> None:
        self.pieces.reverse()
        cut(self, size, into)

    return patch.object(StreamState, "cut", reversed_cut)


MUTATIONS: Final[dict[str, Mutation]] = {
    "": nullcontext,
    **{
        mutation.__name__: mutation
        for mutation in (
            control_is_repeated,
            control_is_lost,
            down_is_lost_with_its_lane,
            down_overtakes,
            small_overtakes_large,
            messages_are_sent_again,
            asks_leak,
            the_dead_return,
            stops_in_start_order,
            rest_is_left_alone,
            restarts_for_ever,
            work_outlives_its_actor,
            mailboxes_are_larger,
            breaks_of_streams_are_not_told,
            breaks_of_streams_look_orderly,
            streams_overtake_themselves,
        )
    },
}
"""By name; the empty name is the runtime as it is."""
