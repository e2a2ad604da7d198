"""What ``deliver`` and ``turn`` spell out of the mailbox, for speed, is what the mailbox itself does."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors import (
    GONE,
    NO_METADATA,
    ActorRef,
    ChildSpec,
    Down,
    MailboxFull,
    MailboxLimits,
    MailboxStatistics,
    MonitorId,
    NodeId,
    Overflow,
    SupervisorSpec,
    Timer,
)
from sllm_actors.actors.actor_cell import ActorCell
from sllm_actors.actors.asking import Port
from sllm_actors.actors.mailbox import Mailbox, Urgent
from sllm_actors.actors.weight import weigh
from sllm_actors.testing import TestSystem

from .scripted import Scripted, start

MESSAGES = 3
BYTES = 500


class Asker(Port):
    def __init__(self, refused: list[Any], message: Any) -> None:
        super().__init__(SimpleNamespace())
        self.refused = refused
        self.message = message

    def resolve(self, outcome: Any) -> None:
        if isinstance(outcome, MailboxFull):
            self.refused.append(self.message)


class ByCell:
    """An actor without a system: its turns are run by hand."""

    def __init__(self, limits: MailboxLimits) -> None:
        self.taken: list[Any] = []
        self.refused: list[Any] = []
        system = SimpleNamespace(
            node=NodeId("here"),
            incarnation=None,
            clock=SimpleNamespace(now=lambda: 0.0),
            deadlines=SimpleNamespace(cancel=lambda _timer: None),
            runners=SimpleNamespace(ready=lambda _cell: None),
            dead_letters=SimpleNamespace(count=lambda message, *_: self.dead.append(message)),
        )
        parent = SimpleNamespace(child_started=lambda _cell: None)
        self.dead: list[Any] = []

        async def receive(_actor: Scripted, message: Any) -> None:
            self.taken.append(message)

        spec = ChildSpec("a", lambda: Scripted(receive), mailbox=limits)
        self.cell = ActorCell(system, 1, spec, parent)  # type: ignore[arg-type]

    def offer(self, message: bytes, *, asks: bool) -> None:
        self.cell.deliver(message, Asker(self.refused, message) if asks else None, NO_METADATA)

    def insert(self, down: Down) -> None:
        self.cell.owned_resources().watching[down.watch] = None
        self.cell.notify(down)

    def signal(self, message: int) -> None:
        timer = Timer(self.cell, message)
        self.cell.owned_resources().timers.add(timer)
        self.cell.notify_first(timer)

    def take(self, count: int) -> None:
        self.cell.actor.context = self.cell.context
        turn = self.cell.turn(count)
        with pytest.raises(StopIteration):
            turn.send(None)
        self.cell.settle()

    @property
    def counts(self) -> tuple[int, int, int]:
        mailbox = self.cell.mailbox
        return mailbox.held, mailbox.weight, mailbox.rejected


class ByMailbox:
    """The mailbox alone."""

    def __init__(self, limits: MailboxLimits) -> None:
        self.mailbox = Mailbox(limits)
        self.taken: list[Any] = []
        self.refused: list[Any] = []
        self.dead: list[Any] = []

    def offer(self, message: bytes, *, asks: bool) -> None:
        entry = (message, asks, NO_METADATA, weigh(message))
        if not self.mailbox.offer(entry):
            for refused, asked, _, _ in self.mailbox.overflow(entry):
                self.dead.append(refused)
                if asked:
                    self.refused.append(refused)

    def insert(self, down: Down) -> None:
        self.mailbox.insert(down)

    def signal(self, message: int) -> None:
        self.mailbox.signal(message)

    def take(self, count: int) -> None:
        for _ in range(count):
            entry = self.mailbox.take()
            assert not isinstance(entry, Urgent)
            if entry is not None:
                self.taken.append(entry[0])

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.mailbox.held, self.mailbox.weight, self.mailbox.rejected


STEPS = st.one_of(
    st.tuples(st.sampled_from(["tell", "ask"]), st.sampled_from([0, 1, 90, 200, BYTES])),
    st.tuples(st.sampled_from(["insert", "signal"]), st.just(0)),
    st.tuples(st.just("take"), st.integers(1, 5)),
)


@given(st.lists(STEPS, max_size=60), st.sampled_from(Overflow))
def test_a_cell_and_its_mailbox_agree(steps: list[tuple[str, int]], overflow: Overflow) -> None:
    limits = MailboxLimits(MESSAGES, BYTES, overflow)
    cell, mailbox = ByCell(limits), ByMailbox(limits)
    cell.take(1)  # its started hook
    for number, (what, size) in enumerate([*steps, ("take", 100)]):
        for each in (cell, mailbox):
            match what:
                case "take":
                    each.take(size)
                case "insert":
                    each.insert(Down(None, GONE, MonitorId(number)))  # type: ignore[arg-type]
                case "signal":
                    each.signal(number)
                case _:
                    each.offer(number.to_bytes(2) + bytes(size), asks=what == "ask")
        assert (cell.taken, cell.refused, cell.dead) == (mailbox.taken, mailbox.refused, mailbox.dead)
        assert cell.counts == mailbox.counts
    assert cell.counts[:2] == (0, 0)


@pytest.mark.anyio
async def test_an_actor_that_drops_the_oldest_answers_their_askers_and_keeps_the_newest() -> None:
    async with TestSystem() as system:
        got: deque[Any] = deque()
        go = anyio.Event()

        async def handle(_actor: Scripted, message: Any) -> Any:
            await go.wait()
            got.append(message)
            return message

        limits = MailboxLimits(2, overflow=Overflow.DROP_OLDEST)
        ref: ActorRef = await start(system, handle, mailbox=limits)
        ref.tell("handled now")
        await anyio.wait_all_tasks_blocked()

        async def ask_and_be_refused() -> None:
            with pytest.raises(MailboxFull):
                await ref.ask("the oldest", timeout=60)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_and_be_refused)
            await anyio.wait_all_tasks_blocked()
            for message in ("old", "new", "newest"):
                ref.tell(message)
        assert system.mailbox_statistics(ref) == MailboxStatistics(2, 2 * 64 + 3 + 6, 2, limits)
        go.set()
        await anyio.wait_all_tasks_blocked()
        assert await ref.ask("last", timeout=60) == "last"
        assert list(got) == ["handled now", "new", "newest", "last"]
        assert system.statistics().dead_letters_by_reason == {"its mailbox is full": 2}


@pytest.mark.anyio
async def test_only_an_actor_that_lives_here_has_a_mailbox() -> None:
    async with TestSystem() as system:
        ref = await start(system, name="here")
        assert system.mailbox_statistics(system.named("here")) == MailboxStatistics(0, 0, 0, MailboxLimits())
        supervisor = await system.start(SupervisorSpec("sup"))
        await system.stop_child("a")
        for nobody in (ref, supervisor, system.named("there", NodeId("other"))):
            assert system.mailbox_statistics(nobody) is None
