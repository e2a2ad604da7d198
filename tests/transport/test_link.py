"""The life of a link, who is admitted, fences and back-off: pure decisions, as tables."""

from __future__ import annotations

import time

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors.identity import Incarnation, NodeId
from sllm_actors.transport.admission import Admission, Known, admit, dialler_yields
from sllm_actors.transport.backoff import DialBackoff
from sllm_actors.transport.fence import FenceOverflow, Fences
from sllm_actors.transport.hello import Code, Hello, Lane
from sllm_actors.transport.link import Announce, Doubt, Effect, LinkLife, LinkState, Lose, Trust, lateness
from sllm_actors.transport.settings import TransportSettings

from .kit import identity, life

CONTROL, DATA = Lane.CONTROL, Lane.DATA


def up(now: float = 0.0) -> LinkLife:
    link = LinkLife(3.0, now)
    link.opened(CONTROL, now)
    assert link.opened(DATA, now) == [Announce()]
    return link


def test_a_link_is_up_once_both_lanes_are_open_and_is_announced_once() -> None:
    link = LinkLife(3.0, 0.0)
    states = [link.state]
    assert link.opened(CONTROL, 0.0) == []
    assert link.opened(DATA, 0.1) == [Announce()]
    states.append(link.state)
    assert link.closed(DATA, "reset", 1.0) == []
    states.append(link.state)
    assert link.closed(DATA, "again", 1.0) == []
    assert link.opened(DATA, 2.0) == []
    states.append(link.state)
    assert states == [LinkState.CONNECTING, LinkState.UP, LinkState.SUSPECT, LinkState.UP]


def test_silence_is_the_end_after_the_whole_budget() -> None:
    link = up()
    assert link.tick(2.9, heard=False) == []
    assert link.tick(2.9, heard=True) == []
    assert link.tick(5.8, heard=False) == []
    assert link.tick(5.9, heard=False) == [Lose("silent for 3.0 s", severed=True)]
    assert link.state is LinkState.DOWN


@pytest.mark.parametrize("lane", [CONTROL, DATA])
def test_a_lane_that_stays_away_for_the_budget_is_the_end(lane: Lane) -> None:
    link = up()
    assert link.tick(1.0, heard=True) == []
    link.closed(lane, "closed by the peer", 1.0)
    link.closed(DATA if lane is CONTROL else CONTROL, "later", 2.0)
    link.opened(CONTROL, 2.5)
    assert link.tick(3.9, heard=True) == []
    assert link.tick(4.0, heard=True) == [Lose("later, and did not come back within 3.0 s", severed=True)]


@pytest.mark.parametrize("data_first", [False, True])
def test_a_silence_that_breaks_the_control_lane_counts_once(data_first: bool) -> None:
    link = up()
    assert link.tick(1.0, heard=True) == []
    if data_first:
        link.closed(DATA, "timed out", 3.5)
    link.closed(CONTROL, "timed out", 3.8)
    assert link.tick(3.9, heard=False) == []
    (effect,) = link.tick(4.0, heard=False)
    assert effect == Lose("timed out, and did not come back within 3.0 s", severed=True)


def test_a_peer_whose_connection_was_closed_is_doubted_after_a_moment_and_trusted_when_it_is_back() -> None:
    link = up()
    link.closed(DATA, "reset", 1.0)
    link.closed(CONTROL, "reset", 1.0)
    assert link.tick(1.2, heard=False) == []
    assert link.tick(1.25, heard=False) == [Doubt("reset")]
    assert link.tick(1.5, heard=False) == []
    assert link.opened(CONTROL, 2.0) == []
    assert link.opened(DATA, 2.0) == [Trust()]
    assert link.tick(2.5, heard=True) == []
    link.closed(CONTROL, "reset again", 3.0)
    assert link.tick(3.3, heard=False) == [Doubt("reset again")]
    assert link.tick(6.0, heard=False) == [
        Lose("reset again, and did not come back within 3.0 s", severed=True)
    ]


def test_a_peer_is_not_doubted_that_comes_back_at_once_or_has_lost_its_data_lane_alone() -> None:
    link = up()
    link.closed(CONTROL, "reset", 1.0)
    link.opened(CONTROL, 1.1)
    link.closed(DATA, "reset", 1.2)
    assert link.tick(2.0, heard=True) == []
    never = LinkLife(3.0, 0.0)
    never.opened(CONTROL, 0.0)
    never.closed(CONTROL, "reset", 0.1)
    assert never.tick(1.0, heard=False) == [], "nobody was told that it is there"


def test_time_in_which_this_node_stood_still_is_no_reason_for_doubt() -> None:
    link = up()
    link.closed(CONTROL, "reset", 1.0)
    link.extend(10.0)
    assert link.tick(11.0, heard=False) == []


def test_a_link_that_never_came_up_ends_too() -> None:
    link = LinkLife(3.0, 0.0)
    link.opened(CONTROL, 0.0)
    (effect,) = link.tick(3.0, heard=True)
    assert isinstance(effect, Lose)
    assert "never opened" in effect.reason
    assert not link.announced


def test_down_is_final() -> None:
    link = up()
    assert link.ended("goodbye") == [Lose("goodbye")]
    assert link.ended("again") == []
    assert link.opened(CONTROL, 1.0) == []
    assert link.closed(CONTROL, "x", 1.0) == []
    assert link.tick(99.0, heard=False) == []
    assert link.unreachable("refused") == []


def test_a_refused_connection_ends_a_link_only_without_its_control_lane() -> None:
    link = up()
    assert link.unreachable("refused") == []
    link.closed(CONTROL, "x", 1.0)
    assert link.unreachable("refused") == [Lose("refused", severed=True)]


def test_a_node_that_stood_still_gives_everyone_that_much_more_time() -> None:
    link = up()
    link.closed(DATA, "x", 1.0)
    link.extend(10.0)
    assert link.tick(13.9, heard=True) == []
    assert link.tick(14.0, heard=True) != []
    silent = up()
    silent.extend(lateness(1.0, 11.0, 0.5))
    assert silent.tick(12.9, heard=False) == []
    assert lateness(1.0, 1.4, 0.5) == 0.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "close", "tick", "end", "refuse"]), st.booleans()), max_size=40
    )
)
def test_a_link_is_announced_and_lost_at_most_once_and_in_that_order(steps: list[tuple[str, bool]]) -> None:
    link = LinkLife(3.0, 0.0)
    effects: list[Effect] = []
    for now, (what, flag) in enumerate(steps):
        lane = CONTROL if flag else DATA
        match what:
            case "open":
                effects += link.opened(lane, now)
            case "close":
                effects += link.closed(lane, "x", now)
            case "tick":
                effects += link.tick(now, heard=flag)
            case "end":
                effects += link.ended("e")
            case _:
                effects += link.unreachable("r")
    kinds: list[type[object]] = [type(effect) for effect in effects]
    doubts = [kind for kind in kinds if kind in (Doubt, Trust)]
    certain = [kind for kind in kinds if kind not in (Doubt, Trust)]
    assert certain in ([], [Announce], [Lose], [Announce, Lose])
    assert doubts == [(Doubt, Trust)[number % 2] for number in range(len(doubts))]
    assert not doubts or kinds.index(Announce) < kinds.index(Doubt)
    assert (Lose in kinds) == (link.state is LinkState.DOWN)
    assert link.state is LinkState.DOWN or link.doubted == (len(doubts) % 2 == 1)


ME = identity("me", counter=5)
PEER = Hello(
    cluster=ME.cluster,
    node=NodeId("peer"),
    role="worker",
    incarnation=life(3),
    lane=CONTROL,
    nonce=b"n" * 32,
    public_key=b"k" * 32,
)
KNOWN = Known(
    life(3), up=True, control_open=True, outbound=False, lively=True, data_epoch=4, public_key=b"k" * 32
)
STRANGER = evolve(PEER, public_key=b"s" * 32)
LATER = evolve(PEER, incarnation=life(4))
OLDER = evolve(PEER, incarnation=life(2))
FIRST = evolve(PEER, node=NodeId("alpha"))
OURS = evolve(KNOWN, outbound=True)


@pytest.mark.parametrize(
    ("peer", "known", "dead", "dialled", "code"),
    [
        (PEER, None, None, False, Code.OK),
        (STRANGER, KNOWN, None, False, Code.DUPLICATE),
        (evolve(STRANGER, lane=DATA, epoch=9), KNOWN, None, False, Code.DUPLICATE),
        (evolve(PEER, node=ME.node, incarnation=ME.incarnation), None, None, True, Code.SELF),
        (evolve(PEER, node=ME.node), None, None, False, Code.DUPLICATE),
        (PEER, None, life(3), False, Code.DOWN),
        (PEER, None, life(4), True, Code.OLDER),
        (PEER, None, life(2), False, Code.OK),
        (OLDER, KNOWN, None, False, Code.OLDER),
        (LATER, KNOWN, None, False, Code.DUPLICATE),
        (LATER, evolve(KNOWN, lively=False), None, False, Code.OK),
        (LATER, evolve(KNOWN, control_open=False), None, False, Code.OK),
        (evolve(LATER, previous=life(3)), KNOWN, None, False, Code.OK),
        (LATER, KNOWN, None, True, Code.OK),
        (PEER, evolve(KNOWN, control_open=False), None, False, Code.OK),
        (PEER, KNOWN, None, False, Code.OK),
        (PEER, OURS, None, True, Code.LINKED),
        (PEER, OURS, None, False, Code.LINKED),
        (PEER, KNOWN, None, True, Code.OK),
        (FIRST, OURS, None, False, Code.OK),
        (FIRST, KNOWN, None, True, Code.LINKED),
        (evolve(PEER, lane=DATA, epoch=5), KNOWN, None, False, Code.OK),
        (evolve(PEER, lane=DATA, epoch=4), KNOWN, None, False, Code.LANE),
        (evolve(PEER, lane=DATA, epoch=5), OURS, None, False, Code.LANE),
        (evolve(PEER, lane=DATA), OURS, None, True, Code.OK),
        (evolve(PEER, lane=DATA, epoch=5), None, None, False, Code.LANE),
        (evolve(LATER, lane=DATA, epoch=5), KNOWN, None, False, Code.LANE),
        (evolve(PEER, lane=Lane.TUNNEL), KNOWN, None, False, Code.OK),
        (evolve(PEER, lane=Lane.TUNNEL), evolve(KNOWN, up=False), None, True, Code.LANE),
    ],
)
def test_who_may_open_a_lane(
    peer: Hello, known: Known | None, dead: Incarnation | None, dialled: bool, code: Code
) -> None:
    admission = admit(ME, peer, known, dead, dialled=dialled)
    assert admission.code is code
    assert bool(admission.reason) == (code is not Code.OK)


def test_both_ends_agree_on_which_of_two_connections_stays() -> None:
    """A and B have dialled each other: each judges both connections, and the same one stays."""
    a, b = identity("a"), identity("b")
    hello_a = evolve(PEER, node=NodeId("a"), incarnation=a.incarnation)
    hello_b = evolve(PEER, node=NodeId("b"), incarnation=b.incarnation)
    at_a = evolve(KNOWN, incarnation=b.incarnation)
    at_b = evolve(KNOWN, incarnation=a.incarnation)
    for first in ("a", "b"):
        second_stays = (
            admit(a, hello_b, evolve(at_a, outbound=first == "a"), None, dialled=first == "b"),
            admit(b, hello_a, evolve(at_b, outbound=first == "b"), None, dialled=first == "a"),
        )
        assert second_stays[0] == second_stays[1]
        assert (second_stays[0] == Admission()) == (first == "b"), "the one that the lower id has dialled"


def test_of_two_lives_that_must_not_meet_the_one_with_fewer_links_ends() -> None:
    assert dialler_yields(0, 3)
    assert not dialler_yields(3, 0)
    assert dialler_yields(1, 1)


def test_a_signal_waits_for_the_messages_sent_before_it() -> None:
    fences = Fences(10, 100)
    assert fences.hold(0, 0, "no lane yet") == ["no lane yet"]
    assert fences.hold(1, 2, "a") == [], "its lane is not open here yet"
    assert fences.opened(1) == []
    assert fences.delivered(1) == []
    assert fences.held == 1
    assert fences.delivered(2) == ["a"]
    assert fences.hold(1, 2, "at once") == ["at once"]
    assert fences.hold(1, 9, "b") == []
    assert fences.closed() == ["b"]
    assert fences.hold(1, 99, "lane lost") == ["lane lost"]
    assert fences.hold(2, 1, "c") == []
    assert fences.opened(3) == ["c"]
    assert fences.hold(3, 1, "d") == []
    assert fences.ended() == ["d"]
    assert fences.held == 0


def test_signals_that_wait_are_bounded_by_count_and_by_size() -> None:
    fences = Fences(3, 100)
    for number in range(3):
        assert fences.hold(1, number, number, 10) == []
    with pytest.raises(FenceOverflow):
        fences.hold(1, 9, "one too many")
    assert fences.opened(1) == [0]
    with pytest.raises(FenceOverflow):
        fences.hold(2, 0, "too long", 81)
    assert fences.hold(2, 0, "fits", 80) == []
    assert fences.delivered(2) == [1, 2]
    assert fences.ended() == ["fits"]
    assert fences.hold(3, 0, "after the end", 100) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30), st.data())
def test_signals_become_due_once_and_never_before_what_they_wait_for(
    signals: list[tuple[int, int]], data: st.DataObject
) -> None:
    fences, epoch, is_open, total, due = Fences(30, 0), 0, False, 0, []
    for number, fence in enumerate(signals):
        due += fences.hold(*fence, number)
        match data.draw(st.sampled_from(["open", "close", "deliver", "nothing"])):
            case "open":
                epoch, is_open, total = epoch + 1, True, 0
                due += fences.opened(epoch)
            case "close":
                is_open = False
                due += fences.closed()
            case "deliver" if is_open:
                total += 1
                due += fences.delivered(total)
        waits = {
            each
            for each, (of, count) in enumerate(signals[: number + 1])
            if of > epoch or (of == epoch and is_open and count > total)
        }
        assert sorted(due) == sorted(set(range(number + 1)) - waits)
        assert fences.held == len(waits)


def test_many_signals_behind_a_bulk_transfer_cost_no_time() -> None:
    fences = Fences(50_000, 0)
    began = time.process_time()
    fences.opened(1)
    for number in range(50_000):
        fences.hold(1, 50_000 - number, number)
    due = [signal for total in range(50_001) for signal in fences.delivered(total)]
    assert due == list(reversed(range(50_000)))
    assert time.process_time() - began < 3, "it was quadratic: half an hour"


def test_pauses_double_up_to_a_cap_and_begin_again_after_success() -> None:
    backoff = DialBackoff(0.05, 1.0)
    assert [round(backoff.pause(1.0), 3) for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.pause(0.0) == 0.5
    backoff.reset()
    assert backoff.pause(0.0) == 0.025
    assert DialBackoff(2.0, 1.0).pause(1.0) == 1.0


def test_a_reborn_node_is_the_same_in_a_later_life() -> None:
    assert ME.reborn(life(6)) == identity("me", counter=6)
    with pytest.raises(ValueError, match="not later"):
        ME.reborn(life(5))


def test_the_budget_is_the_time_of_the_missed_heartbeats() -> None:
    assert TransportSettings().budget == 3.0
    with pytest.raises(ValueError, match="heartbeat"):
        TransportSettings(heartbeat=0)
