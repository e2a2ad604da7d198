"""The mailbox against a model: order, lanes, bounds, and notices that no bound can keep out."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sllm_actors.actors import SHUTDOWN, MailboxLimits, Overflow
from sllm_actors.actors.mailbox import Entry, Mailbox, Urgent

MESSAGES = 5
BYTES = 100


def entry(message: Any, weight: int = 10) -> Entry:
    return (message, None, None, weight)


class MailboxMachine(RuleBasedStateMachine):
    """The model: a list of messages and inserted notices, and a list of signals."""

    policy = Overflow.REJECT

    def __init__(self) -> None:
        super().__init__()
        self.mailbox = Mailbox(MailboxLimits(MESSAGES, BYTES, self.policy))
        self.rejected = 0
        self.lane: list[tuple[int, int]] = []  # (message, weight); a notice weighs 0
        self.signals: list[int] = []
        self.count = 0
        self.stopped = self.killed = self.closed = False

    def user_messages(self) -> list[tuple[int, int]]:
        return [each for each in self.lane if each[1]]

    def fits(self, weight: int) -> bool:
        held = self.user_messages()
        return len(held) < MESSAGES and sum(each[1] for each in held) + weight <= BYTES

    @rule(weight=st.one_of(st.integers(1, 60), st.integers(BYTES - 1, BYTES + 1)))
    def offer(self, weight: int) -> None:
        self.count += 1
        came = (self.count, weight)
        taken = self.mailbox.offer(entry(*came))
        assert taken is (not self.closed and self.fits(weight))
        refused: list[tuple[int, int]] = []
        if not taken and not self.closed:
            if self.policy is Overflow.REJECT or weight > BYTES:
                refused = [came]
            else:
                while not self.fits(weight):
                    refused.append(self.user_messages()[0])
                    self.lane.remove(refused[-1])
                taken = True
            assert self.mailbox.overflow(entry(*came)) == [entry(*each) for each in refused]
            self.rejected += len(refused)
        if taken:
            self.lane.append(came)

    @precondition(lambda self: not self.closed)
    @rule()
    def insert(self) -> None:
        self.count += 1
        self.mailbox.insert(self.count)
        self.lane.append((self.count, 0))

    @rule()
    def signal(self) -> None:
        self.count += 1
        self.mailbox.signal(self.count)
        self.signals.append(self.count)

    @precondition(lambda self: not self.killed)
    @rule()
    def take(self) -> None:
        taken = self.mailbox.take()
        if self.stopped:
            assert taken is Urgent.STOP
        elif self.signals:
            assert taken == entry(self.signals.pop(0), 0)
        elif self.lane:
            assert taken == entry(*self.lane.pop(0))
        else:
            assert taken is None

    @precondition(lambda self: self.lane and not (self.killed or self.stopped or self.signals))
    @rule()
    def take_as_a_turn_does(self) -> None:
        assert not self.mailbox.urgent
        taken = self.mailbox.messages.popleft()
        assert taken == entry(*self.lane.pop(0))
        if taken[3]:
            self.mailbox.weight -= taken[3]
        else:
            self.mailbox.took_notice()

    @precondition(lambda self: self.count > 30)
    @rule()
    def close(self) -> None:
        left = self.mailbox.close()
        assert left == [entry(*each) for each in self.user_messages()]
        self.lane.clear()
        self.signals.clear()
        self.closed = True

    @precondition(lambda self: self.count > 20)
    @rule()
    def stop(self) -> None:
        self.mailbox.order_stop(SHUTDOWN)
        self.stopped = True

    @precondition(lambda self: self.count > 25)
    @rule()
    def kill(self) -> None:
        self.mailbox.order_kill()
        self.killed = True
        assert self.mailbox.take() is Urgent.KILL

    @invariant()
    def what_is_held_is_counted(self) -> None:
        held = self.user_messages()
        assert self.mailbox.held == len(held) <= MESSAGES
        assert self.mailbox.rejected == self.rejected
        assert self.mailbox.weight == sum(each[1] for each in held) <= BYTES
        assert self.mailbox.urgent is bool(self.signals or self.stopped or self.killed)
        assert self.mailbox.pending is bool(self.lane or self.signals or self.stopped or self.killed)


class DroppingMailboxMachine(MailboxMachine):
    """The same, where the oldest messages make room for the newest."""

    policy = Overflow.DROP_OLDEST


TestMailbox = MailboxMachine.TestCase
TestDroppingMailbox = DroppingMailboxMachine.TestCase


def test_the_oldest_message_makes_room_but_never_a_notice() -> None:
    mailbox = Mailbox(MailboxLimits(2, overflow=Overflow.DROP_OLDEST))
    mailbox.insert("down")
    for message in ("first", "second"):
        assert mailbox.offer(entry(message))
    assert not mailbox.offer(entry("third"))
    assert mailbox.overflow(entry("third")) == [entry("first")]
    assert [mailbox.take() for _ in range(3)] == [entry("down", 0), entry("second"), entry("third")]


def test_a_message_heavier_than_the_whole_mailbox_is_always_rejected() -> None:
    assert not Mailbox(MailboxLimits(messages=10, bytes=50)).offer(entry("big", 51))


def test_a_down_does_not_overtake_what_was_delivered_before_it() -> None:
    mailbox = Mailbox(MailboxLimits(messages=1))
    assert mailbox.offer(entry("last words"))
    mailbox.insert("down")
    assert [mailbox.take(), mailbox.take()] == [entry("last words"), entry("down", 0)]


def test_a_signal_is_served_before_waiting_messages_even_when_the_mailbox_is_full() -> None:
    mailbox = Mailbox(MailboxLimits(messages=1))
    assert mailbox.offer(entry("work"))
    assert not mailbox.offer(entry("more work"))
    mailbox.signal("tick")
    assert mailbox.take() == entry("tick", 0)
