"""The pure cores against models, in any order of events: control session and life of a link, the window of
a data lane, the frames of a connection."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sllm_actors.transport.assembly import Assembler
from sllm_actors.transport.control import ControlOverflow, ControlSession
from sllm_actors.transport.frame import (
    ACK,
    HEADER,
    HEADER_SIZE,
    HEARTBEAT,
    LIMIT,
    PART,
    SEQUENCED,
    TELL,
    FrameDecoder,
    encode,
)
from sllm_actors.transport.hello import Lane
from sllm_actors.transport.link import Announce, Doubt, Effect, LinkLife, LinkState, Lose, Trust
from sllm_actors.transport.outbox import Outbox
from sllm_actors.transport.settings import CHUNK, PARTIAL_MESSAGES, TransportSettings

BUDGET = 3.0
MOST = 8
SIDES = st.integers(0, 1)


class End:
    """One node's half of a link, as ``PeerLink`` wires it."""

    def __init__(self) -> None:
        self.session = ControlSession(MOST, 10_000)
        self.life = LinkLife(BUDGET, 0.0)
        self.decoder = FrameDecoder()
        self.sent: list[bytes] = []
        self.got: list[bytes] = []
        self.effects: list[Effect] = []
        self.heard = False

    def take(self, data: bytes) -> None:
        self.heard = self.heard or bool(data)
        for kind, body in self.decoder.receive(data):
            if kind == SEQUENCED:
                new = self.session.receive(body)
                if new is not None:
                    self.got.append(bytes(new[1]))
            else:
                assert kind in {HEARTBEAT, ACK}
                self.session.acknowledged(body)


class LinkMachine(RuleBasedStateMachine):
    """Two ends, and a connection that delivers bytes in any pieces and loses those under way when cut."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = End(), End()
        self.wire = bytearray(), bytearray()  # towards each end
        self.connected = False
        self.now = 0.0

    def write(self, side: int, frame: bytes | None) -> None:
        if self.connected and frame is not None:
            self.wire[1 - side].extend(frame)

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.connected = True
        for side, end in enumerate(self.ends):
            end.decoder = FrameDecoder()
            for frame in end.session.resend():
                self.write(side, frame)
            self.write(side, end.session.heartbeat())
            end.effects += end.life.opened(Lane.CONTROL, self.now)
            end.effects += end.life.opened(Lane.DATA, self.now)

    @precondition(lambda self: self.connected)
    @rule()
    def cut(self) -> None:
        self.connected = False
        for wire in self.wire:
            wire.clear()
        for end in self.ends:
            for lane in (Lane.CONTROL, Lane.DATA):
                end.effects += end.life.closed(lane, "cut", self.now)

    @rule(side=SIDES, body=st.binary(max_size=4))
    def send(self, side: int, body: bytes) -> None:
        end = self.ends[side]
        try:
            frame = end.session.send(1, body)
        except ControlOverflow:
            assert end.session.unacknowledged == MOST
            return
        end.sent.append(body)
        self.write(side, frame)

    @rule(side=SIDES, share=st.floats(0, 1))
    def deliver(self, side: int, share: float) -> None:
        wire = self.wire[side]
        size = round(share * len(wire))
        data = bytes(wire[:size])
        del wire[:size]
        self.ends[side].take(data)

    @rule(side=SIDES)
    def acknowledge(self, side: int) -> None:
        if self.connected:
            self.write(side, self.ends[side].session.acknowledge())

    @rule(seconds=st.floats(0, 2.0))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        for side, end in enumerate(self.ends):
            self.write(side, end.session.heartbeat())
            silent = self.now - end.life.heard
            effects = end.life.tick(self.now, heard=end.heard)
            if any(isinstance(effect, Lose) for effect in effects):
                assert silent >= BUDGET or not self.connected
            end.heard = False
            end.effects += effects

    @rule(side=SIDES, seconds=st.floats(0, 10))
    def stand_still(self, side: int, seconds: float) -> None:
        self.now += seconds
        for end in self.ends:
            end.life.extend(seconds)

    @invariant()
    def what_was_sent_comes_once_in_order_and_is_kept_until_it_is_known_to_have_come(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert other.got == end.sent[: len(other.got)]
            assert end.session.unacknowledged >= len(end.sent) - len(other.got)
            assert end.session.unacknowledged <= MOST

    @invariant()
    def a_link_is_announced_and_lost_once(self) -> None:
        for end in self.ends:
            kinds = [type(effect) for effect in end.effects if not isinstance(effect, Doubt | Trust)]
            assert kinds in ([], [Announce], [Lose], [Announce, Lose])
            assert (Lose in kinds) == (end.life.state is LinkState.DOWN)
            if end.life.state is LinkState.UP:
                assert self.connected

    def teardown(self) -> None:
        """However it went: one connection that holds brings everything across."""
        if self.connected:
            self.cut()
        self.connect()
        for side in (0, 1, 0, 1):
            self.deliver(side, 1.0)
            self.acknowledge(side)
        for side in (0, 1):
            self.deliver(side, 1.0)
        for end, other in (self.ends, self.ends[::-1]):
            assert other.got == end.sent
            assert end.session.unacknowledged == 0


SETTINGS = TransportSettings(queue_bytes=400 * 1024, receiver_queue_bytes=200 * 1024, queue_messages=12)
SIZES = st.sampled_from([0, 1, 900, CHUNK - HEADER_SIZE - 1, CHUNK - HEADER_SIZE, CHUNK, 100_000, 180_000])


class CreditMachine(RuleBasedStateMachine):
    """An outbox, a wire that holds frames for any time, and a receiver that reports when it likes."""

    @initialize(window=st.sampled_from([None, 3 * CHUNK, 1 << 30]))
    def begin(self, window: int | None) -> None:
        self.outbox = Outbox(SETTINGS, window)
        self.window = min(SETTINGS.window, window or SETTINGS.window)
        self.assembler = Assembler(SETTINGS.max_message)
        self.wire: deque[bytes] = deque()
        self.unreported = 0
        self.taken = self.reported = 0
        self.put_bodies: defaultdict[int, list[bytes]] = defaultdict(list)
        self.got_bodies: defaultdict[int, list[bytes]] = defaultdict(list)
        self.fences: dict[int, Counter[int]] = {}
        self.streams: dict[int, int] = {}
        self.delivered = 0

    @rule(receiver=st.integers(0, 5), size=SIZES)
    def put(self, receiver: int, size: int) -> None:
        body = bytes([receiver]) + len(self.put_bodies[receiver]).to_bytes(4, "big") + bytes(size)
        queued = self.outbox.queued_bytes
        if self.outbox.put(receiver, TELL, body):
            self.put_bodies[receiver].append(body)
        else:
            assert queued, "a way on which nothing waits takes any message"

    @rule()
    def take(self) -> None:
        data = b"".join(self.outbox.take())
        self.taken += len(data)
        while data:
            length, _ = HEADER.unpack_from(data)
            self.wire.append(data[: HEADER_SIZE + length])
            data = data[HEADER_SIZE + length :]

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 20))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            raw = self.wire.popleft()
            assert len(raw) - HEADER_SIZE <= LIMIT
            length, kind = HEADER.unpack_from(raw)
            assert length == len(raw) - HEADER_SIZE
            body = raw[HEADER_SIZE:]
            whole: Any = self.assembler.receive(body) if kind == PART else (kind, body)
            self.unreported += len(raw)
            if whole is not None:
                self.delivered += 1
                self.got_bodies[whole[1][0]].append(bytes(whole[1]))

    @rule()
    def report(self) -> None:
        self.outbox.acknowledge(self.unreported)
        self.reported += self.unreported
        self.unreported = 0

    @rule()
    def fence(self) -> None:
        tag = len(self.fences)
        self.fences[tag] = Counter({key: len(bodies) for key, bodies in self.put_bodies.items()})
        count = self.outbox.fence(tag)
        if count is not None:
            self.passes(tag, count)

    def passes(self, tag: int, count: int) -> None:
        """When so many have been delivered, everything put before the fence has been."""
        if self.delivered >= count:
            got = Counter({key: len(bodies) for key, bodies in self.got_bodies.items()})
            assert self.fences[tag] <= got
        else:
            assert sum(self.fences[tag].values()) <= count

    @rule()
    def release(self) -> None:
        for tag, count in self.outbox.released():
            self.passes(tag, count)

    @invariant()
    def windows_hold_and_credits_are_conserved(self) -> None:
        outbox = self.outbox
        assert outbox.in_flight <= self.window
        shares = outbox._by_receiver.values()
        assert sum(shares) == outbox.in_flight
        assert all(0 < share <= min(SETTINGS.receiver_window, self.window - CHUNK) for share in shares)
        ready = sum(map(len, outbox._ready))
        assert self.taken + ready == self.reported + outbox.in_flight
        assert outbox.queued_bytes <= SETTINGS.queue_bytes
        assert len(self.assembler._partial) <= PARTIAL_MESSAGES

    @invariant()
    def the_messages_of_a_receiver_come_in_order(self) -> None:
        for receiver, got in self.got_bodies.items():
            assert got == self.put_bodies[receiver][: len(got)]

    def teardown(self) -> None:
        """Whoever reports everything gets everything."""
        if not hasattr(self, "outbox"):
            return
        for _ in range(200):
            self.take()
            if self.wire:
                self.deliver(1 << 20)
            self.report()
        assert self.got_bodies == {key: bodies for key, bodies in self.put_bodies.items() if bodies}
        assert self.outbox.in_flight == self.outbox.queued_bytes == self.outbox._partial == 0
        assert not self.assembler._partial
        assert self.outbox.complete == self.delivered


class FrameMachine(RuleBasedStateMachine):
    """Frames are written, their bytes arrive in any pieces, and at some time one of them lies."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = FrameDecoder()
        self.wire = bytearray()
        self.written: list[tuple[int, bytes]] = []
        self.read: list[tuple[int, bytes]] = []
        self.lied = False

    @precondition(lambda self: not self.lied)
    @rule(kind=st.integers(0, 255), size=st.sampled_from([0, 1, 5, 300, CHUNK, LIMIT]))
    def write(self, kind: int, size: int) -> None:
        body = bytes([kind]) * size
        self.wire += encode(kind, body)
        self.written.append((kind, body))

    @precondition(lambda self: not self.lied)
    @rule(length=st.integers(LIMIT + 1, 2**32 - 1), kind=st.integers(0, 255))
    def lie(self, length: int, kind: int) -> None:
        self.wire += HEADER.pack(length, kind) + b"whatever"
        self.lied = True

    @rule(share=st.floats(0, 1))
    def feed(self, share: float) -> None:
        size = round(share * len(self.wire))
        self.decode(size)

    @rule()
    def feed_a_byte(self) -> None:
        self.decode(1)

    def decode(self, size: int) -> None:
        self.read += [(kind, bytes(body)) for kind, body in self.decoder.receive(bytes(self.wire[:size]))]
        del self.wire[:size]

    @invariant()
    def what_is_read_was_written_and_little_is_kept(self) -> None:
        assert self.read == self.written[: len(self.read)]
        assert self.decoder.buffered < LIMIT + HEADER_SIZE
        if self.decoder.failure is not None:
            assert self.lied
            assert self.read == self.written
            assert not self.decoder.buffered

    def teardown(self) -> None:
        self.feed(1.0)
        assert self.read == self.written
        assert (self.decoder.failure is not None) == self.lied
        assert self.decoder.receive(encode(1, b"after an error")) == [] or not self.lied


ENOUGH = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLink = LinkMachine.TestCase
TestLink.settings = ENOUGH
TestCredit = CreditMachine.TestCase
TestCredit.settings = ENOUGH
TestFrames = FrameMachine.TestCase
TestFrames.settings = ENOUGH
