"""The actors of a run: they tell, ask, watch, crash, stop and have children, at random."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from attrs import frozen
from tests.tunnels import open_tunnel

from sllm_actors.actors import (
    TEMPORARY,
    Actor,
    ActorRef,
    AskError,
    Catalog,
    ChildSpec,
    Down,
    ExitReason,
    Incarnation,
    MonitorId,
    PeerDown,
    RemoteFailure,
    Reply,
    Shutdown,
    StartFailed,
    StartIgnored,
)
from sllm_actors.transport import TunnelRefused

from .clients import Client
from .ledger import EPSILON, Uid, Watch, name_of

if TYPE_CHECKING:
    from .nodes import SimNode

CATALOG = Catalog()


@frozen
class Stamp:
    """What every message between actors carries, for the ledger."""

    number: int
    place: int
    node: str
    process: int
    actor: int
    life: tuple[int, int]
    target: str

    @property
    def sender(self) -> Uid:
        return Uid(self.node, self.process, self.actor)

    @property
    def origin(self) -> Incarnation:
        return Incarnation(*self.life)


@CATALOG.message("sim.note")
@frozen
class Note:
    stamp: Stamp
    body: bytes = b""


@CATALOG.message("sim.question")
@frozen
class Question:
    stamp: Stamp
    how: str
    body: bytes = b""


@CATALOG.message("sim.answer")
@frozen
class Answer:
    number: int
    body: bytes = b""


@CATALOG.message("sim.ping")
@frozen
class Ping:
    number: int


@CATALOG.message("sim.through")
@frozen
class Through:
    """Asks for a tunnel to an engine."""

    number: int


class Act:
    """A message to oneself: do something."""


def fill(number: int, size: int) -> bytes:
    return bytes([number % 251]) * size


class Probe(Actor):
    """Answers pings: whether a node can be talked to."""

    async def receive(self, message: Any) -> Any:
        return message


class Person(Actor):
    """See above.

    Args:
        node: Where it lives.
        pace: Mean seconds between its acts.
        slow: Seconds that it takes for a message at most.
    """

    def __init__(self, node: SimNode, *, pace: float, slow: float) -> None:
        self.node = node
        self.world = node.world
        self.rng: random.Random = node.world.rng
        self.pace = pace
        self.slow = slow
        self.monitors: list[MonitorId] = []

    @property
    def uid(self) -> Uid:
        return Uid(self.node.name, self.node.process, int(self.context.ref.address.key))

    @property
    def cell(self) -> Any:
        return self.context._cell

    async def started(self) -> None:
        self.world.ledger.trace("start", self.uid)
        chance = self.rng.random()
        if chance < 0.02:
            await anyio.sleep(self.rng.random() * 0.05)
        elif chance < 0.04:
            raise OSError("cannot start")
        elif chance < 0.045:
            raise StartIgnored
        self.world.directory.append(self.context.ref)
        if self.pace:
            self.context.after(self.rng.expovariate(1 / self.pace), Act())
        self.node.families.is_up(self.cell)

    async def receive(self, message: Any) -> Any:
        match message:
            case Act():
                if not self.world.quiet and not self.node.dead:
                    self.context.after(self.rng.expovariate(1 / self.pace), message)
                    await self.act()
            case Note():
                self.record(message.stamp, message.body)
                if self.slow and self.rng.random() < 0.3:
                    await anyio.sleep(self.rng.random() * self.slow)
            case Question():
                self.record(message.stamp, message.body)
                return await self.answer(message)
            case Down():
                self.went_down(message)
            case _:
                return await super().receive(message)
        return None

    async def stopped(self, reason: ExitReason) -> None:
        self.world.ledger.trace("stop", self.uid, reason)
        if isinstance(reason, Shutdown):
            self.node.families.stops(self.cell)
        chance = self.rng.random()
        if chance < 0.05:
            await anyio.sleep(self.rng.random() * 0.4)
        elif chance < 0.08:
            raise OSError("cannot stop")

    # -- what it does --------------------------------------------------------------------------

    async def act(self) -> None:
        other = self.world.somebody(self.node)
        if other is None:
            return
        match self.rng.choices(
            [
                "tell",
                "letters",
                "burst",
                "ask",
                "ask behind",
                "tunnel",
                "stream",
                "watch",
                "unwatch",
                "last words",
                "crash",
                "stop",
                "child",
            ],
            [30, 8, 2, 12, 12, 4, 4, 16, 3, 3, 2, 1, 3],
        )[0]:
            case "tell":
                for _ in range(self.rng.randint(1, 4)):
                    self.tell(other, self.rng.randint(0, 200))
            case "letters":
                self.write(other, self.rng.randint(1, 6))
            case "burst":
                for _ in range(self.rng.randint(10, 60)):
                    self.tell(other, self.rng.randint(0, 2_000))
            case "ask":
                await self.ask(other)
            case "ask behind" | "tunnel" | "stream" as what:
                work = {"ask behind": self.ask, "tunnel": self.use_engine, "stream": self.use_stream}[what]
                self.context.start_soon(self.behind, work, other)
            case "watch":
                self.watch(other)
            case "unwatch" if self.monitors:
                monitor = self.monitors.pop(self.rng.randrange(len(self.monitors)))
                self.context.demonitor(monitor)
                self.world.ledger.watches[self.key(monitor)].over = True
            case "last words":
                for watcher in self.world.watchers.pop(self.uid, [])[-3:]:
                    self.write(self.node.system.ref(watcher), self.rng.randint(1, 4))
                raise ValueError("crash, after last words")
            case "crash":
                raise ValueError("crash")
            case "stop":
                self.context.stop()
            case "child":
                await self.have_child()

    async def behind(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        cell = self.cell
        self.node.families.works(cell, 1)
        try:
            await work(*arguments)
        finally:
            self.node.families.works(cell, -1)

    def stamp(self, ref: ActorRef) -> Stamp:
        uid, address = self.uid, ref.address
        life = self.node.system.incarnation
        number, place = self.world.ledger.sends(uid, life, address)
        origin = life.counter, life.nonce
        return Stamp(number, place, uid.node, uid.process, uid.number, origin, name_of(address))

    def tell(self, ref: ActorRef, size: int) -> None:
        stamp = self.stamp(ref)
        ref.tell(Note(stamp, fill(stamp.number, size)))

    def write(self, ref: ActorRef, letters: int) -> None:
        """Tell somebody things of very different size."""
        for _ in range(letters):
            self.tell(ref, int(self.world.bulk ** self.rng.random()))

    async def ask(self, ref: ActorRef) -> None:
        how = self.rng.choices(
            ["now", "slow", "later", "never", "crash", "refuse", "bulk"], [20, 6, 4, 1, 1, 2, 2]
        )[0]
        timeout = self.rng.choice([0.02, 0.2, 1.0])
        stamp = self.stamp(ref)
        size = self.rng.choice([0, 0, 100, 20_000])
        ledger = self.world.ledger
        question = ledger.asks_now(stamp.number, self.uid, ref.address, timeout)
        outcome = "cancelled"
        try:
            reply = await ref.ask(Question(stamp, how, fill(stamp.number, size)), timeout=timeout)
            outcome = "answered"
            if not isinstance(reply, Answer) or reply.number != stamp.number:
                ledger.violated("I5", f"ask {stamp.number} was answered by {reply!r:.80}")
        except AskError as error:
            outcome = type(error).__name__
        finally:
            if not self.node.dead:
                ledger.answered(stamp.number, question, outcome)

    def watch(self, ref: ActorRef) -> None:
        address = ref.address
        monitor = self.context.monitor(ref)
        self.monitors.append(monitor)
        watch = Watch(self.uid, self.node.system.incarnation, address, self.node.is_linked(address))
        self.world.ledger.watches_now(self.key(monitor), watch)
        uid = self.world.uid_of(address)
        if uid is not None:
            self.world.watchers.setdefault(uid, []).append(self.context.ref.address)

    async def use_engine(self, ref: ActorRef) -> None:
        """Talk to an engine on that node through a tunnel, and leave it at the end or in the middle."""
        world, number = self.world, self.world.ledger.next_id()
        outcome = "left"
        try:
            with anyio.move_on_after(self.rng.choice([0.02, 0.2, 1.0])):
                there = ref.address.node
                opening = open_tunnel(self.node.transport, there, Through(number), timeout=0.8)
                async with await opening as tunnel:
                    for turn in range(self.rng.randint(1, 4)):
                        said = fill(number + turn, self.rng.choice([1, 500, 3_000]))
                        await tunnel.send(said)
                        heard = b""
                        while len(heard) < len(said):
                            heard += await tunnel.receive()
                        if heard != said and not self.node.dead:
                            world.ledger.violated("I1", f"tunnel {number} said something else")
                    outcome = "used"
        except (PeerDown, TunnelRefused, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            outcome = type(error).__name__
        finally:
            world.left_engines.add(number)
            world.ledger.counts[f"tunnel {outcome}"] += 1

    async def use_stream(self, ref: ActorRef) -> None:
        """Exchange bytes with an engine on that node, now and then reading nothing, and perhaps leave."""
        world, number, rng = self.world, self.world.ledger.next_id(), self.rng
        client = Client(self.node, number, rng.choice([0, 1, 3_000, 100_000]))
        try:
            self.node.transport.open_stream(ref.address.node, Through(number), client)
        except (PeerDown, TunnelRefused) as error:
            world.ledger.counts[f"stream {type(error).__name__}"] += 1
            return
        world.clients.append(client)
        try:
            with anyio.move_on_after(rng.choice([0.02, 0.2, 1.0])):
                while not client.over.is_set():
                    await anyio.sleep(rng.random() * 0.1)
                    client.stream.resume_reading()
        finally:
            if not client.over.is_set():
                client.leave(at_once=rng.random() < 0.5)
            world.left_engines.add(number)

    async def have_child(self) -> None:
        number = self.world.ledger.next_id()
        spec = ChildSpec(
            f"child-{number}",
            lambda: Person(self.node, pace=self.pace, slow=self.slow),
            self.rng.choice([TEMPORARY, *self.world.kinds]),
            shutdown=0.1,
            backoff=self.world.backoff,
        )
        try:
            await self.context.start_child(spec)
        except StartFailed:
            self.world.ledger.counts["start failed"] += 1

    # -- what happens to it --------------------------------------------------------------------

    def record(self, stamp: Stamp, body: bytes) -> None:
        if self.node.dead:
            return
        self.world.ledger.receives(stamp.number, stamp.place, stamp.sender, stamp.target, self.uid)
        if body != fill(stamp.number, len(body)):
            self.world.ledger.violated("I1", f"message {stamp.number} came with another body")

    async def answer(self, question: Question) -> Answer | None:
        number = question.stamp.number
        match question.how:
            case "slow":
                await anyio.sleep(self.rng.random() * 0.3)
            case "later":
                reply = self.reply_later()

                async def later() -> None:
                    await anyio.sleep(self.rng.random() * 0.3)
                    reply.send(Answer(number))

                self.context.start_soon(self.behind, later)
                return None
            case "never":
                self.reply_later()
                return None
            case "crash":
                raise ValueError("crash in an ask")
            case "refuse":
                raise RemoteFailure("Refused", "no")
            case "bulk":
                return Answer(number, fill(number, self.rng.randint(0, self.world.bulk)))
        return Answer(number)

    def reply_later(self) -> Reply:
        """Take over an answer, and see to it that nobody is said to wait for it when nobody can (I11)."""
        remaining = self.context.remaining() or 0.0
        reply = self.context.reply_later()

        async def check() -> None:
            await anyio.sleep(remaining + EPSILON)
            await anyio.sleep(EPSILON)  # a process that was frozen wakes in any order
            if reply.wanted and not self.node.dead:
                self.world.ledger.violated("I11", f"{self.uid} is wanted after the deadline of an ask")
            self.world.ledger.counts["unwanted in time"] += 1

        self.context.start_soon(self.behind, check)
        return reply

    def went_down(self, down: Down) -> None:
        if self.node.dead:
            return
        if down.watch in self.monitors:
            self.monitors.remove(down.watch)
        watch = self.world.ledger.watches[self.key(down.watch)]
        self.world.ledger.gets_down(
            watch,
            down,
            target_lives=self.world.lives(watch),
            uid=self.world.uid_of(down.ref.address),
        )

    def key(self, monitor: MonitorId) -> tuple[str, int, int]:
        return self.node.name, self.node.process, int(monitor)
