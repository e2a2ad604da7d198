"""Control messages arrive exactly once and in order, however often the connection between them breaks."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sllm_actors.transport.control import MONITOR, ControlOverflow, ControlSession
from sllm_actors.transport.errors import RemoteProtocolError
from sllm_actors.transport.frame import ACK, HEARTBEAT, SEQUENCED, FrameDecoder


def body(frame: bytes) -> bytes:
    ((_, content),) = FrameDecoder().receive(frame)
    return bytes(content)


def test_a_message_is_kept_until_it_is_acknowledged() -> None:
    left, right = ControlSession(10, 1000), ControlSession(10, 1000)
    frames = [left.send(MONITOR, bytes([number])) for number in range(3)]
    assert left.resend() == frames
    assert right.receive(body(frames[0])) == (MONITOR, b"\0")
    assert right.receive(body(frames[1])) == (MONITOR, b"\1")
    assert right.receive(body(frames[0])) is None, "a repetition is dropped"
    acknowledgement = right.acknowledge()
    assert acknowledgement is not None
    assert right.acknowledge() is None, "nothing new to acknowledge"
    left.acknowledged(body(acknowledgement))
    assert left.resend() == frames[2:]
    left.acknowledged(body(acknowledgement))
    left.acknowledged(struct.pack("!Q", 0))
    assert left.unacknowledged == 1
    assert right.receive(body(frames[2])) == (MONITOR, b"\2")
    left.acknowledged(body(right.heartbeat()))
    assert left.unacknowledged == 0
    assert right.acknowledge() is None, "the heartbeat has told it"


def test_too_much_unacknowledged_is_an_overflow_and_changes_nothing() -> None:
    session = ControlSession(2, 1000)
    session.send(1, b"")
    session.send(1, b"")
    with pytest.raises(ControlOverflow):
        session.send(1, b"")
    assert session.unacknowledged == 2
    with pytest.raises(ControlOverflow):
        ControlSession(10, 50).send(1, bytes(50))


@pytest.mark.parametrize("wrong", [b"", struct.pack("!QB", 2, 1)])
def test_a_missing_or_torn_message_breaks_the_protocol(wrong: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ControlSession(1, 100).receive(wrong)


@pytest.mark.parametrize("wrong", [b"", struct.pack("!Q", 1)])
def test_an_acknowledgement_of_nothing_breaks_the_protocol(wrong: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ControlSession(1, 100).acknowledged(wrong)


class LossyLink(RuleBasedStateMachine):
    """Two sessions over a connection that delivers in order, and now and then loses everything under way."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = (ControlSession(1000, 100_000), ControlSession(1000, 100_000))
        self.wires: tuple[list[bytes], list[bytes]] = ([], [])
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.got: tuple[list[bytes], list[bytes]] = ([], [])

    @rule(side=st.integers(0, 1), count=st.integers(1, 4))
    def send(self, side: int, count: int) -> None:
        for _ in range(count):
            content = str(len(self.sent[side])).encode()
            self.sent[side].append(content)
            self.wires[side].append(self.sessions[side].send(1, content))

    @rule(side=st.integers(0, 1), count=st.integers(1, 9))
    def deliver(self, side: int, count: int) -> None:
        there = self.sessions[1 - side]
        for _ in range(min(count, len(self.wires[side]))):
            ((kind, content),) = FrameDecoder().receive(self.wires[side].pop(0))
            if kind == SEQUENCED:
                message = there.receive(content)
                if message is not None:
                    self.got[1 - side].append(bytes(message[1]))
            else:
                assert kind in {ACK, HEARTBEAT}
                there.acknowledged(content)
        acknowledgement = there.acknowledge()
        if acknowledgement is not None:
            self.wires[1 - side].append(acknowledgement)

    @rule(side=st.integers(0, 1))
    def beat(self, side: int) -> None:
        self.wires[side].append(self.sessions[side].heartbeat())

    @rule()
    def reconnect(self) -> None:
        for wire, session in zip(self.wires, self.sessions, strict=True):
            wire[:] = [*session.resend(), session.heartbeat()]

    @invariant()
    def nothing_is_lost_repeated_or_reordered(self) -> None:
        for side in (0, 1):
            assert self.got[1 - side] == self.sent[side][: len(self.got[1 - side])]

    def teardown(self) -> None:
        self.reconnect()
        for _ in range(3):
            for side in (0, 1):
                self.deliver(side, 10_000)
        assert self.got[0] == self.sent[1]
        assert self.got[1] == self.sent[0]
        assert [session.unacknowledged for session in self.sessions] == [0, 0]


TestLossyLink = LossyLink.TestCase
TestLossyLink.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(0, 2**32))
def test_random_bodies_raise_nothing_but_a_protocol_error(seed: int) -> None:
    rng = random.Random(seed)
    session = ControlSession(10, 1000)
    session.send(1, b"")
    for work in (session.receive, session.acknowledged):
        try:
            work(rng.randbytes(rng.randrange(20)))
        except RemoteProtocolError:
            continue
