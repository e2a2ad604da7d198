"""A peer that says what no correct peer says has broken the protocol; nothing else comes of it."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.transport.errors import NodeFull, RemoteProtocolError, TunnelRefused
from sllm_actors.transport.frame import HEARTBEAT, SEQUENCED, TELL, Frame, FrameDecoder
from sllm_actors.transport.streams.multiplexer import UNREAD_ANSWERS, Multiplexer
from sllm_actors.transport.streams.wire import (
    ACCEPT,
    CREDIT,
    DATA,
    END,
    LANE,
    LANE_WINDOW,
    OPEN,
    PIECE,
    REASON_LIMIT,
    REFUSE,
    REQUEST_LIMIT,
    RESET,
    STREAM_WINDOW,
    credit,
    frame,
    reason_of,
    refusal_of,
)

from .lanes import Side, exchange, lane


def hear(side: Side, *frames: bytes) -> None:
    side.read(b"".join(frames))


def opened() -> tuple[Side, Side]:
    """Return two sides with stream 1 open, and stream 3 asked for but not answered."""
    left, right = lane()
    left.multiplexer.open(b"")
    exchange(left, right)
    right.accepts = False
    left.multiplexer.open(b"")
    exchange(left, right)
    return left, right


LIES_TO_THE_ANSWERER: list[tuple[list[bytes], str]] = [
    ([frame(TELL, 1)], "frame kind 1 does not belong on a tunnel lane"),
    ([frame(SEQUENCED, 1)], "frame kind 18 does not belong"),
    ([struct.pack("!IB", 4, DATA) + b"abcd"], "too short"),
    ([frame(OPEN, 4)], "stream 4 cannot be opened"),
    ([frame(OPEN, 3)], "stream 3 cannot be opened"),
    ([frame(OPEN, 0)], "stream 0 cannot be opened"),
    ([frame(OPEN, 5, bytes(REQUEST_LIMIT + 1))], "request of a stream is too long"),
    ([frame(DATA, 5, b"x")], "stream 5 was never opened"),
    ([frame(DATA, 2, b"x")], "stream 2 was never opened"),
    ([frame(END, LANE)], "stream 0 was never opened"),
    ([frame(DATA, 1)], "0 bytes in one frame"),
    ([frame(DATA, 1, bytes(PIECE + 1))], "16385 bytes in one frame"),
    ([frame(END, 1), frame(END, 1)], "ends before its beginning or twice"),
    ([frame(END, 1), frame(DATA, 1, b"x")], "before its beginning or after its end"),
    ([frame(DATA, 1, bytes(PIECE))] * 5, "stream 1 carries more than its credit"),
    ([frame(CREDIT, 1)], "a credit has no count"),
    ([credit(1, 1)], "more bytes are given back than were sent"),
    ([credit(LANE, 1)], "more bytes are given back than were sent"),
    ([frame(ACCEPT, 1)], "stream 1 waits for no answer"),
    ([frame(REFUSE, 3)], "stream 3 waits for no answer"),
]


@pytest.mark.parametrize(("frames", "complaint"), LIES_TO_THE_ANSWERER)
def test_a_lie_to_the_side_that_answers_is_found_out(frames: list[bytes], complaint: str) -> None:
    _, right = opened()
    with pytest.raises(RemoteProtocolError, match=complaint):
        hear(right, *frames)


LIES_TO_THE_OPENER: list[tuple[list[bytes], str]] = [
    ([frame(ACCEPT, 1)], "stream 1 waits for no answer"),
    ([frame(REFUSE, 1)], "stream 1 waits for no answer"),
    ([frame(ACCEPT, 5)], "stream 5 waits for no answer"),
    ([frame(ACCEPT, 7)], "stream 7 was never opened"),
    ([frame(DATA, 3, b"x")], "before its beginning"),
    ([frame(END, 3)], "ends before its beginning"),
    ([frame(OPEN, 5)], "stream 5 cannot be opened"),
    ([frame(OPEN, 0)], "stream 0 cannot be opened"),
    ([frame(RESET, LANE, b"")], "stream 0 was never opened"),
]


@pytest.mark.parametrize(("frames", "complaint"), LIES_TO_THE_OPENER)
def test_a_lie_to_the_side_that_has_opened_is_found_out(frames: list[bytes], complaint: str) -> None:
    left, _ = opened()
    left.multiplexer.open(b"not announced yet")
    with pytest.raises(RemoteProtocolError, match=complaint):
        hear(left, *frames)


def test_more_than_the_credit_of_the_lane_is_found_out_although_each_stream_keeps_its_own() -> None:
    _, right = lane(max_streams=100)
    right.multiplexer._window = 3 * STREAM_WINDOW  # as if the rest were under way
    pieces = STREAM_WINDOW // PIECE
    frames = [frame(OPEN, number) for number in (1, 3, 5, 7)]
    frames += [frame(DATA, number, bytes(PIECE)) for number in (1, 3, 5, 7) for _ in range(pieces)]
    with pytest.raises(RemoteProtocolError, match="the streams of a lane carry more than its credit"):
        hear(right, *frames)


def test_bytes_of_streams_that_are_over_count_on_the_lane() -> None:
    _left, right = opened()
    right.multiplexer.reset(right.streams[1], "")
    right.write()
    for _ in range(LANE_WINDOW // PIECE):
        hear(right, frame(DATA, 1, bytes(PIECE)))
    with pytest.raises(RemoteProtocolError, match="more than its credit"):
        hear(right, frame(DATA, 1, bytes(PIECE)))


def test_a_peer_that_opens_streams_and_does_not_read_is_given_up() -> None:
    _, right = lane(max_streams=1)
    hear(right, frame(OPEN, 1))
    numbers = range(3, 3 + 2 * (UNREAD_ANSWERS + 2), 2)
    hear(right, *[frame(OPEN, number) for number in numbers])
    with pytest.raises(RemoteProtocolError, match="does not read"):
        hear(right, frame(OPEN, numbers[-1] + 2))


def test_heartbeats_and_what_later_versions_may_add_are_skipped() -> None:
    _, right = opened()
    hear(right, frame(HEARTBEAT, 1), frame(200, 1), struct.pack("!IB", 0, HEARTBEAT))
    assert set(right.streams) == {1, 3}


def test_reasons_are_cut_and_what_is_no_text_is_replaced() -> None:
    long = frame(RESET, 1, b"\xff" + b"x" * 5000)[5:]
    assert reason_of(long) == "\N{REPLACEMENT CHARACTER}" + "x" * (REASON_LIMIT - 1)
    assert refusal_of(bytes(8)).reason == ""
    assert type(refusal_of(bytes(8) + b"\x00no")) is TunnelRefused
    assert type(refusal_of(bytes(8) + b"\x01no")) is NodeFull
    assert type(refusal_of(bytes(8) + b"\x02no")) is TunnelRefused


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(30, 40), st.integers(0, 255)),
            st.integers(0, 12),
            st.one_of(st.binary(max_size=40), st.integers(1, PIECE).map(bytes)),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_any_frames_either_make_sense_or_break_the_protocol(
    frames: list[tuple[int, int, bytes]], dialler: bool
) -> None:
    multiplexer = Multiplexer(dialler=dialler, max_streams=3)
    for request in (b"a", b"b", b"c"):
        multiplexer.open(request)
    multiplexer.take()
    decoded: list[Frame] = FrameDecoder().receive(b"".join(frame(*each) for each in frames))
    for each in decoded:
        try:
            multiplexer.receive([each])
        except RemoteProtocolError:
            return
        multiplexer.take()
        assert sum(not state.ours for state in multiplexer.streams.values()) <= 3


@pytest.mark.parametrize("seed", range(20))
def test_what_two_sides_say_with_a_changed_byte_never_does_worse_than_break_the_protocol(seed: int) -> None:
    rng = random.Random(seed)
    left, _right = lane()
    states = [left.multiplexer.open(b"request") for _ in range(5)]
    for state in states:
        left.multiplexer.write(state, rng.randbytes(rng.randrange(1, 3 * PIECE)))
        left.multiplexer.end(state)
    left.write()
    data = bytes(left.wire)
    for _ in range(50):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        decoder = FrameDecoder()
        frames = decoder.receive(bytes(changed))
        _, fresh = lane()
        try:
            events = fresh.multiplexer.receive(frames)
        except RemoteProtocolError:
            continue
        assert len(events) <= len(frames)
