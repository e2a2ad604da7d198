"""What a lane promises of its streams: order, credits, turns, and an end that both sides agree on."""

from __future__ import annotations

import pytest

from sllm_actors.transport.errors import NodeFull, TunnelRefused
from sllm_actors.transport.frame import FrameDecoder
from sllm_actors.transport.streams.multiplexer import BATCH, LOW, Multiplexer
from sllm_actors.transport.streams.wire import (
    DATA,
    END,
    LANE_WINDOW,
    OPEN,
    PIECE,
    REQUEST_LIMIT,
    RESET,
    STREAM_WINDOW,
    number_of,
)

from .lanes import Side, exchange, lane


def kinds(multiplexer: Multiplexer) -> list[tuple[int, int]]:
    """Take what is to be written once; return the kind and the stream of each frame."""
    frames = FrameDecoder().receive(b"".join(multiplexer.take()))
    return [(kind, number_of(body)) for kind, body in frames]


def nothing_left(*sides: Side) -> bool:
    return all(not each.streams and not each.multiplexer.queued for each in sides)


def test_a_stream_carries_a_request_bytes_both_ways_and_both_ends() -> None:
    left, right = lane()
    state = left.multiplexer.open(b"which engine")
    left.multiplexer.write(state, b"question")
    left.multiplexer.end(state)
    exchange(left, right)
    assert right.requests == {1: b"which engine"}
    assert right.got == {1: b"question"}
    assert right.ended == {1}
    assert left.streams
    assert right.streams
    there = right.streams[1]
    right.multiplexer.write(there, b"ans")
    right.multiplexer.write(there, b"wer")
    right.multiplexer.end(there)
    exchange(left, right)
    assert left.got == {1: b"answer"}
    assert left.ended == {1}
    assert nothing_left(left, right)
    assert right.multiplexer.over == [there]


def test_bytes_need_no_round_trip_and_what_is_refused_is_dropped() -> None:
    left, right = lane()
    right.accepts = False
    states = [left.multiplexer.open(bytes([number])) for number in range(3)]
    for state in states:
        left.multiplexer.write(state, b"at once")
    assert kinds(left.multiplexer) == [(OPEN, 1), (OPEN, 3), (OPEN, 5), (DATA, 1), (DATA, 3), (DATA, 5)]

    left, right = lane()
    right.accepts = False
    one, other = left.multiplexer.open(b""), left.multiplexer.open(b"")
    left.multiplexer.write(one, b"at once")
    exchange(left, right)
    right.multiplexer.refuse(right.streams[1], TunnelRefused("there is no such replica"))
    right.multiplexer.refuse(right.streams[3], NodeFull("no file descriptors are left"))
    left.multiplexer.write(one, b"more")
    exchange(left, right)
    assert [type(left.refused[number]) for number in (1, 3)] == [TunnelRefused, NodeFull]
    assert left.refused[1].reason == "there is no such replica"
    assert one.over
    assert other.over
    assert nothing_left(left, right)


def test_both_sides_open_streams_and_their_numbers_never_meet() -> None:
    left, right = lane()
    for _ in range(3):
        left.multiplexer.open(b"from the left")
        right.multiplexer.open(b"from the right")
    exchange(left, right)
    assert set(left.streams) == set(right.streams) == {1, 2, 3, 4, 5, 6}
    assert set(left.requests) == {2, 4, 6}
    assert set(right.requests) == {1, 3, 5}


def test_a_stream_that_is_not_read_stops_at_its_window_and_stalls_no_other() -> None:
    left, right = lane()
    right.greedy = False
    stalled, free = left.multiplexer.open(b""), left.multiplexer.open(b"")
    left.multiplexer.write(stalled, bytes(5 * STREAM_WINDOW))
    exchange(left, right)
    left.multiplexer.write(stalled, bytes(5 * STREAM_WINDOW))
    exchange(left, right)
    assert right.unread == {1: STREAM_WINDOW}
    for turn in range(20):
        left.multiplexer.write(free, bytes([turn]) * STREAM_WINDOW)
        exchange(left, right)
        right.consume(right.streams[3])
        exchange(left, right)
    assert len(right.got[3]) == 20 * STREAM_WINDOW
    assert right.unread == {1: STREAM_WINDOW}
    right.greedy = True
    right.consume(right.streams[1])
    exchange(left, right)
    assert len(right.got[1]) == 10 * STREAM_WINDOW


def test_a_peer_that_reads_nothing_at_all_gets_one_window_of_the_lane() -> None:
    left, _right = lane()
    for _ in range(8):
        left.multiplexer.write(left.multiplexer.open(b""), bytes(STREAM_WINDOW))
    left.write()
    frames = FrameDecoder().receive(bytes(left.wire))
    assert sum(len(body) - 8 for kind, body in frames if kind == DATA) == LANE_WINDOW
    assert left.multiplexer.queued == 4 * STREAM_WINDOW
    assert not left.multiplexer.has_output
    late = left.multiplexer.open(b"a request needs no credit")
    assert kinds(left.multiplexer) == [(OPEN, late.number)]


def test_streams_take_turns_frame_by_frame_and_small_writes_go_together() -> None:
    left, _ = lane()
    bulk, small = left.multiplexer.open(b""), left.multiplexer.open(b"")
    left.multiplexer.write(bulk, bytes(3 * PIECE))
    for _ in range(100):
        left.multiplexer.write(small, b"token")
    left.multiplexer.end(small)
    assert kinds(left.multiplexer) == [
        (OPEN, bulk.number),
        (OPEN, small.number),
        (DATA, bulk.number),
        (DATA, small.number),
        (END, small.number),
        (DATA, bulk.number),
        (DATA, bulk.number),
    ]


def test_one_take_gives_out_a_batch_so_that_a_new_request_waits_for_no_more() -> None:
    left, _ = lane()
    for _ in range(4):
        left.multiplexer.write(left.multiplexer.open(b""), bytes(STREAM_WINDOW))
    first = kinds(left.multiplexer)
    assert sum(kind == DATA for kind, _ in first) == BATCH // PIECE
    late = left.multiplexer.open(b"")
    assert kinds(left.multiplexer)[0] == (OPEN, late.number)


def test_a_held_writer_is_told_once_that_it_may_go_on() -> None:
    left, right = lane()
    right.greedy = False
    state = left.multiplexer.open(b"")
    left.multiplexer.write(state, bytes(2 * STREAM_WINDOW))
    state.held = True
    exchange(left, right)
    assert state.queued == STREAM_WINDOW > LOW
    assert left.multiplexer.drained == []
    right.greedy = True
    right.consume(right.streams[1])
    exchange(left, right)
    assert left.multiplexer.drained == [state]
    assert not state.held


def test_a_reset_drops_what_waits_and_crosses_what_is_under_way() -> None:
    left, right = lane()
    right.greedy = False
    state = left.multiplexer.open(b"")
    left.multiplexer.write(state, bytes(3 * STREAM_WINDOW))
    exchange(left, right)
    there = right.streams[1]
    right.multiplexer.write(there, b"half an ans")
    left.multiplexer.reset(state, "its client has left")
    right.multiplexer.reset(there, "the engine has crashed")
    assert kinds(left.multiplexer) == [(RESET, 1)]
    exchange(left, right)
    assert nothing_left(left, right)
    left.multiplexer.reset(state, "again")
    left.multiplexer.write(state, b"nothing of this")
    left.multiplexer.end(state)
    left.multiplexer.close(state)
    right.multiplexer.refuse(there, TunnelRefused("too late"))
    right.multiplexer.accept(there)
    exchange(left, right)
    assert left.got == {}

    state = left.multiplexer.open(b"")
    exchange(left, right)
    left.multiplexer.reset(state, "its client has left")
    exchange(left, right)
    assert right.resets == {3: "its client has left"}


def test_a_stream_that_is_reset_before_it_was_announced_leaves_no_trace() -> None:
    left, _ = lane()
    state = left.multiplexer.open(b"")
    left.multiplexer.write(state, b"question")
    left.multiplexer.reset(state, "its client has left")
    assert not left.multiplexer.has_output
    assert left.multiplexer.take() == []
    assert not state.announced


def test_a_close_sends_what_was_written_and_reads_no_more() -> None:
    left, right = lane()
    state = left.multiplexer.open(b"")
    left.multiplexer.write(state, b"the last words")
    left.multiplexer.close(state)
    exchange(left, right)
    assert right.got == {1: b"the last words"}
    assert right.ended == {1}
    assert right.resets == {1: ""}
    assert nothing_left(left, right)


def test_a_close_after_the_end_says_goodbye_at_once_and_one_of_both_ended_streams_says_nothing() -> None:
    left, right = lane()
    state, other = left.multiplexer.open(b""), left.multiplexer.open(b"")
    left.multiplexer.end(state)
    exchange(left, right)
    left.multiplexer.close(state)
    assert state.over
    right.multiplexer.end(right.streams[3])
    exchange(left, right)
    assert right.resets == {1: ""}
    left.multiplexer.close(other)
    exchange(left, right)
    assert right.resets == {1: ""}
    assert nothing_left(left, right)


def test_what_comes_for_a_stream_that_is_being_closed_is_dropped_and_given_back() -> None:
    left, right = lane()
    blocked = left.multiplexer.open(b"")
    right.greedy = False
    left.multiplexer.write(blocked, bytes(2 * STREAM_WINDOW))
    left.multiplexer.close(blocked)
    exchange(left, right)
    there = right.streams[1]
    right.multiplexer.write(there, bytes(3 * STREAM_WINDOW))
    exchange(left, right)
    assert left.got == {}
    assert right.multiplexer.queued == 0
    right.consume(there)
    exchange(left, right)
    assert len(right.got[1]) == 2 * STREAM_WINDOW
    assert nothing_left(left, right)


def test_no_credit_is_given_back_to_who_has_ended() -> None:
    left, right = lane()
    right.greedy = False
    state = left.multiplexer.open(b"")
    left.multiplexer.write(state, bytes(STREAM_WINDOW - 1))
    exchange(left, right)
    there = right.streams[1]
    right.consume(there)
    left.multiplexer.end(state)
    left.write()
    right.read(bytes(left.wire))
    assert not right.multiplexer.has_output
    right.multiplexer.consumed(there, 0)
    assert right.multiplexer.take() == []


def test_more_streams_than_the_bound_are_refused_and_there_is_room_again_later() -> None:
    left, right = lane(max_streams=2)
    states = [left.multiplexer.open(b"") for _ in range(3)]
    exchange(left, right)
    assert isinstance(left.refused[5], NodeFull)
    assert "2 streams are open on this lane already" in left.refused[5].reason
    left.multiplexer.reset(states[0], "")
    again = left.multiplexer.open(b"")
    exchange(left, right)
    assert set(left.refused) == {5}
    assert again.accepted


def test_a_request_has_a_bound() -> None:
    left, right = lane()
    with pytest.raises(ValueError, match="longer than 16384"):
        left.multiplexer.open(bytes(REQUEST_LIMIT + 1))
    assert not left.streams
    left.multiplexer.open(bytes(REQUEST_LIMIT))
    exchange(left, right)
    assert len(right.requests[1]) == REQUEST_LIMIT


def test_a_lane_that_is_gone_takes_all_its_streams_with_it() -> None:
    left, right = lane()
    states = [left.multiplexer.open(b"") for _ in range(3)]
    left.multiplexer.write(states[0], bytes(3 * STREAM_WINDOW))
    exchange(left, right)
    left.multiplexer.reset(states[1], "")
    left.multiplexer.abandon()
    assert all(state.over for state in states)
    assert not left.multiplexer.has_output
    assert nothing_left(left)


def test_nothing_is_written_without_bytes() -> None:
    left, right = lane()
    state = left.multiplexer.open(b"")
    exchange(left, right)
    left.multiplexer.write(state, b"")
    assert not left.multiplexer.has_output
    assert repr(state) == "<StreamState 1>"
