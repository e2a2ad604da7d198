"""Whatever both sides do, in any order and pieces: bytes in order, credits kept, nothing left over."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.transport.errors import TunnelRefused
from sllm_actors.transport.frame import FrameDecoder
from sllm_actors.transport.streams.stream_state import StreamState
from sllm_actors.transport.streams.wire import DATA, LANE_WINDOW, PIECE, STREAM_WINDOW

from .lanes import Side, exchange, lane

ACTS = ["open", "write", "write", "write", "end", "close", "reset", "refuse", "move", "move", "read", "read"]

acts = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(ACTS), st.integers(0, 7), st.sampled_from([1, 100, PIECE, 70_000])
    ),
    max_size=50,
)


class Run:
    """Two sides, and what each has said on each stream."""

    def __init__(self) -> None:
        self.sides = lane(max_streams=4)
        for side in self.sides:
            side.greedy = side.accepts = False
        self.said: dict[tuple[bool, int], bytearray] = {}
        self.broken: set[int] = set()

    def do(self, right: bool, act: str, choice: int, size: int) -> None:
        here, there = self.sides[right], self.sides[not right]
        if act == "open":
            here.multiplexer.open(bytes([choice]))
        elif act == "move":
            self.move(here, there, size)
        elif here.streams:
            numbers = sorted(here.streams)
            self.act_on(right, act, here, here.streams[numbers[choice % len(numbers)]], size)

    def act_on(self, right: bool, act: str, here: Side, state: StreamState, size: int) -> None:
        number = state.number
        if act == "reset" or (act == "close" and not state.accepted and not state.ours):
            self.broken.add(number)
            here.multiplexer.reset(state, "why not")
        elif not state.ours and not state.accepted:
            if act == "refuse":
                self.broken.add(number)
                here.multiplexer.refuse(state, TunnelRefused("no"))
            else:
                here.multiplexer.accept(state)
        elif act == "write" and not state.ending:
            said = self.said.setdefault((right, number), bytearray())
            data = bytes((len(said) + at) % 251 for at in range(size))
            said += data
            here.multiplexer.write(state, data)
        elif act == "end":
            here.multiplexer.end(state)
        elif act == "close":
            self.broken.add(number)
            here.multiplexer.close(state)
        elif act == "read":
            here.consume(state)

    def move(self, here: Side, there: Side, size: int) -> None:
        """Let the network carry some of what one side has written."""
        here.wire += b"".join(here.multiplexer.take())
        data = bytes(here.wire[:size])
        del here.wire[:size]
        there.read(data)
        self.check()

    def check(self) -> None:
        for right, side in enumerate(self.sides):
            for number, unread in side.unread.items():
                assert unread <= STREAM_WINDOW, number
            for number, got in side.got.items():
                assert self.said[not right, number].startswith(got)
            queued = sum(state.queued for state in side.streams.values())
            assert side.multiplexer.queued == queued

    def settle(self) -> None:
        """Read everything, end everything, and let the network carry it all."""
        for _ in range(2):
            for side in self.sides:
                for state in list(side.streams.values()):
                    if not state.ours and not state.accepted:
                        side.multiplexer.accept(state)
                    side.consume(state)
                side.greedy = side.accepts = True
            exchange(*self.sides)
        for side in self.sides:
            for state in list(side.streams.values()):
                side.multiplexer.end(state)
        exchange(*self.sides)


@given(acts)
def test_bytes_come_in_order_within_the_credits_and_nothing_is_left(acts: list[Any]) -> None:
    run = Run()
    for act in acts:
        run.do(*act)
    run.settle()
    run.check()
    for right, side in enumerate(run.sides):
        assert not side.streams
        assert side.multiplexer.queued == 0
        assert not side.multiplexer.has_output
        assert side.multiplexer._credit + run.sides[not right].multiplexer._owed == LANE_WINDOW
        for (writer, number), said in run.said.items():
            if writer != right and number not in run.broken and number not in run.sides[writer].refused:
                assert side.got.get(number, b"") == said
                assert number in side.ended


@given(acts, st.lists(st.integers(0, 200_000), max_size=12))
def test_the_same_bytes_in_any_split_bring_about_the_same(acts: list[Any], cuts: list[int]) -> None:
    run, written = Run(), b""
    for _, act, choice, size in acts:
        if act != "move":  # one side speaks, and hears nothing
            run.do(False, act, choice, size)
        else:
            written += b"".join(run.sides[0].multiplexer.take())
    told = []
    for pieces in ([written], _split(written, cuts)):
        listener = lane(max_streams=4)[1]
        listener.greedy = False
        for piece in pieces:
            listener.read(piece)
        told.append([(kind, state.number, body) for kind, state, body in listener.events])
    assert told[0] == told[1]


@given(st.lists(st.integers(1, 3 * PIECE), min_size=2, max_size=6))
def test_no_stream_gets_two_turns_while_another_one_waits(sizes: list[int]) -> None:
    left, _ = lane()
    for size in sizes:
        left.multiplexer.write(left.multiplexer.open(b""), bytes(size))
    left.write()
    turns: dict[bytes, int] = {}
    for kind, body in FrameDecoder().receive(bytes(left.wire)):
        if kind == DATA:
            number = bytes(body[:8])
            turns[number] = turns.get(number, 0) + 1
            waiting = [
                size for at, size in enumerate(sizes) if -(-size // PIECE) > turns.get(_number(2 * at + 1), 0)
            ]
            behind = [turns.get(_number(2 * at + 1), 0) for at, size in enumerate(sizes) if size in waiting]
            assert all(turns[number] - each <= 1 for each in behind)


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
