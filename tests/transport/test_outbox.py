"""The window: who may send how much, in which order, and that no credit is lost or made up."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_actors.transport.assembly import Assembler
from sllm_actors.transport.errors import RemoteProtocolError
from sllm_actors.transport.frame import ASK, HEADER_SIZE, PART, REPLY, TELL, FrameDecoder
from sllm_actors.transport.hello import LEAST_WINDOW
from sllm_actors.transport.outbox import FIRST, LAST, PART_FIRST, PART_HEAD, Outbox
from sllm_actors.transport.settings import CHUNK, PARTIAL_MESSAGES, TransportSettings

SETTINGS = TransportSettings()
KIB = 1024


class Wire:
    """The other end of an outbox: reads frames, puts messages together, reports what it has consumed."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.decoder = FrameDecoder()
        self.assembler = Assembler(SETTINGS.max_message)
        self.messages: list[bytes] = []
        self.order: list[int] = []
        self.consumed = 0
        self.largest = 0
        self.sent = 0

    def carry(self) -> int:
        """Take what may be written now; return its size."""
        data = b"".join(self.outbox.take())
        for kind, body in self.decoder.receive(data):
            self.largest = max(self.largest, HEADER_SIZE + len(body))
            message = self.assembler.receive(body) if kind == PART else (kind, body)
            if message is not None:
                self.messages.append(bytes(message[1]))
        assert self.decoder.buffered == 0, "only whole frames are written"
        size = len(data)
        self.consumed += size
        self.sent += size
        return size

    def report(self) -> None:
        self.outbox.acknowledge(self.consumed)
        self.consumed = 0

    def drain(self) -> None:
        while self.carry():
            self.report()


def test_small_messages_leave_at_once_and_in_order() -> None:
    outbox = Outbox(SETTINGS)
    for number in range(3):
        assert outbox.put(1, TELL, bytes([number]))
    wire = Wire(outbox)
    assert wire.carry() == 18
    assert wire.messages == [b"\0", b"\1", b"\2"]
    assert outbox.in_flight == 18
    wire.report()
    assert outbox.in_flight == 0


def test_a_long_message_travels_in_chunks_and_never_fills_the_window_alone() -> None:
    outbox = Outbox(SETTINGS)
    body = bytes(range(256)) * 4096
    assert outbox.put("bulk", TELL, body)
    wire = Wire(outbox)
    assert wire.carry() <= SETTINGS.receiver_window
    assert outbox.put("small", REPLY, b"urgent"), "another receiver still has room"
    assert wire.carry() < 100
    assert wire.messages == [b"urgent"]
    wire.report()
    wire.drain()
    assert wire.messages == [b"urgent", body]
    assert wire.largest <= CHUNK
    assert outbox.in_flight == outbox.queued_bytes == 0


def test_two_messages_of_64_kib_to_one_receiver_are_under_way_at_a_time() -> None:
    outbox = Outbox(SETTINGS)
    for _ in range(3):
        assert outbox.put("only", TELL, bytes(64 * KIB + 500))
    wire = Wire(outbox)
    wire.carry()
    assert len(wire.messages) == 2


def test_a_narrow_window_of_the_peer_keeps_room_for_a_chunk_to_others() -> None:
    outbox = Outbox(TransportSettings(receiver_window=1024 * KIB), LEAST_WINDOW)
    assert outbox.put("bulk", TELL, bytes(1024 * KIB))
    assert outbox.put("small", TELL, bytes(60 * KIB))
    wire = Wire(outbox)
    wire.carry()
    assert wire.messages == [bytes(60 * KIB)]


def test_receivers_take_turns() -> None:
    outbox = Outbox(SETTINGS)
    for receiver in "abc":
        for _ in range(8):
            outbox.put(receiver, TELL, receiver.encode() * 60 * KIB)
    wire = Wire(outbox)
    wire.drain()
    seen = {"a": 0, "b": 0, "c": 0}
    for message in wire.messages[:18]:
        seen[chr(message[0])] += 1
        assert max(seen.values()) - min(seen.values()) <= 3


def test_only_a_few_messages_are_in_the_middle_of_their_parts() -> None:
    outbox = Outbox(SETTINGS, 4096 * KIB)
    for receiver in range(3 * PARTIAL_MESSAGES):
        assert outbox.put(receiver, TELL, bytes(300 * KIB))
    wire = Wire(outbox)
    wire.drain()
    assert len(wire.messages) == 3 * PARTIAL_MESSAGES


def full(**bounds: int) -> Outbox:
    """Return an outbox whose window is full, with one message of 60 KiB waiting for receiver 0."""
    outbox = Outbox(TransportSettings(**bounds))
    for receiver in range(5):
        assert outbox.put(receiver % 4, TELL, bytes(60 * KIB))
    assert outbox.queued_bytes == 60 * KIB
    return outbox


def test_a_full_way_to_one_receiver_rejects_only_its_messages() -> None:
    outbox = full(receiver_queue_bytes=100 * KIB)
    assert not outbox.put(0, TELL, bytes(41 * KIB))
    assert outbox.put(0, TELL, bytes(40 * KIB))
    assert outbox.put(1, TELL, bytes(41 * KIB))


def test_a_full_way_to_a_peer_rejects_by_bytes_and_by_count() -> None:
    assert not full(queue_bytes=100 * KIB).put(1, TELL, bytes(41 * KIB))
    few = full(queue_messages=2)
    assert few.put(1, TELL, bytes(60 * KIB))
    assert not few.put(1, TELL, b"")


@pytest.mark.parametrize("count", [1, 5, 7, 100])
def test_a_report_of_bytes_that_were_never_sent_breaks_the_protocol(count: int) -> None:
    outbox = Outbox(SETTINGS)
    outbox.put(1, TELL, b"x")
    outbox.take()
    with pytest.raises(RemoteProtocolError):
        outbox.acknowledge(count)


def test_a_fence_is_passed_when_everything_before_it_has_left() -> None:
    outbox = Outbox(SETTINGS)
    outbox.put(1, TELL, b"x")
    assert outbox.fence("early") == 1
    outbox.put(1, TELL, bytes(300 * KIB))
    outbox.put(2, TELL, bytes(10))
    assert outbox.fence("middle") is None
    outbox.put(3, TELL, b"behind the fence")
    assert outbox.released() == []
    wire = Wire(outbox)
    wire.drain()
    assert outbox.complete == 4
    ((tag, count),) = outbox.released()
    assert tag == "middle"
    assert count >= 3
    assert outbox.released() == []


def test_an_abandoned_outbox_gives_back_what_never_left() -> None:
    outbox = Outbox(SETTINGS)
    assert outbox.abandon() == ([], [])
    outbox.put(1, TELL, b"left already", origin="a")
    outbox.take()
    outbox.put(1, TELL, bytes(300 * KIB), origin="b")
    outbox.put(1, REPLY, b"no origin")
    outbox.fence("f")
    assert outbox.abandon() == (["f"], ["b"])
    assert outbox.take() == []
    assert outbox.queued_bytes == 0


def test_what_is_ready_and_was_not_taken_is_given_back_too() -> None:
    outbox = Outbox(SETTINGS)
    outbox.put(1, TELL, b"taken", origin="taken")
    outbox.take()
    outbox.put(1, TELL, b"ready", origin="ready")
    outbox.put(1, REPLY, b"no origin")
    outbox.put(2, TELL, bytes(100 * KIB), origin="ready in parts")
    outbox.put(3, TELL, bytes(300 * KIB), origin="in part")
    assert outbox.abandon() == ([], ["ready", "ready in parts", "in part"])
    assert outbox.abandon() == ([], [])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("put"),
                st.integers(0, 4),
                st.sampled_from([0, 1, 100, 60_000, 65_531, 65_532, 200_000]),
            ),
            st.tuples(st.just("carry"), st.just(0), st.just(0)),
            st.tuples(st.just("report"), st.just(0), st.just(0)),
        ),
        max_size=60,
    )
)
def test_whatever_is_put_arrives_in_order_within_the_window(steps: list[tuple[str, int, int]]) -> None:
    outbox = Outbox(SETTINGS)
    wire = Wire(outbox)
    put: dict[int, list[bytes]] = defaultdict(list)
    for number, (what, receiver, size) in enumerate(steps):
        if what == "put":
            body = bytes([receiver]) + number.to_bytes(4, "big") + bytes(size)
            if outbox.put(receiver, TELL, body):
                put[receiver].append(body)
        elif what == "carry":
            wire.carry()
        else:
            wire.report()
        assert outbox.in_flight <= SETTINGS.window
        assert outbox.queued_bytes <= SETTINGS.queue_bytes
    wire.drain()
    wire.report()
    wire.drain()
    got: dict[int, list[bytes]] = defaultdict(list)
    for message in wire.messages:
        got[message[0]].append(message)
    assert got == put
    assert outbox.in_flight == outbox.queued_bytes == 0
    assert outbox.complete == len(wire.messages)


def part(stream: int, flags: int, *first: int, body: bytes = b"") -> bytes:
    return PART_HEAD.pack(stream, flags) + (PART_FIRST.pack(*first) if first else b"") + body


@pytest.mark.parametrize(
    "parts",
    [
        [b"abcd"],
        [part(1, 0)],
        [part(1, FIRST)],
        [part(1, FIRST, TELL, 10), part(1, FIRST, TELL, 10)],
        [part(1, FIRST, TELL, 1025)],
        [part(1, FIRST, PART, 10)],
        [part(1, FIRST, TELL, 2, body=b"abc")],
        [part(1, FIRST | LAST, TELL, 4, body=b"abc")],
        [part(number, FIRST, TELL, 10) for number in range(PARTIAL_MESSAGES + 1)],
    ],
    ids=["torn", "orphan", "headless", "twice", "too-long", "kind", "more", "less", "too-many"],
)
def test_parts_that_do_not_fit_break_the_protocol(parts: list[bytes]) -> None:
    assembler = Assembler(1024)
    with pytest.raises(RemoteProtocolError):  # noqa: PT012 - one of them does
        for each in parts:
            assembler.receive(each)


def test_messages_share_a_buffer_one_after_the_other_and_none_shows_another() -> None:
    assembler = Assembler(1024)
    long = assembler.receive(part(1, FIRST | LAST, TELL, 6, body=b"abcdef"))
    assert long == (TELL, b"abcdef")
    buffer = assembler._spare
    assert assembler.receive(part(2, FIRST, ASK, 5, body=b"12")) is None
    assert assembler.receive(part(3, FIRST | LAST, TELL, 2, body=b"xy")) == (TELL, b"xy")
    assert assembler.receive(part(2, LAST, body=b"345")) == (ASK, b"12345")
    assert assembler._spare is buffer


def test_an_announced_length_is_not_allocated() -> None:
    assembler = Assembler(1 << 30)
    assert assembler.receive(part(1, FIRST, TELL, 1 << 30, body=b"abc")) is None
    assert sum(len(each.buffer) for each in assembler._partial.values()) == 3


@pytest.mark.parametrize("size", [10, 60 * KIB, 64 * KIB, 200 * KIB])
def test_what_stands_in_front_of_a_body_travels_with_it(size: int) -> None:
    outbox = Outbox(SETTINGS)
    wire = Wire(outbox)
    assert outbox.put(1, ASK, b"x" * size, head=b"12345678")
    while wire.carry():
        wire.report()
    assert wire.messages == [b"12345678" + b"x" * size]
    assert outbox.in_flight == 0
