"""Two real actor systems over a real link: refs, asks, monitors and names do abroad what they do at home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field, frozen

from sllm_actors.actors import (
    TEMPORARY,
    Actor,
    ActorRef,
    ActorSystem,
    Address,
    Catalog,
    ChildSpec,
    Down,
    Incarnation,
    MailboxLimits,
    NodeDown,
    NodeId,
    PeerDown,
    RemoteFailure,
)
from sllm_actors.testing.node_keys import identification_of
from sllm_actors.transport import PeerLost, PeerUp, Transport, TransportSettings, reference_hooks

from .kit import CLUSTER, PATIENT, SECRET, identity, life, listening_socket, until

pytestmark = pytest.mark.anyio
CATALOG = Catalog()


@CATALOG.message("greet.hello")
@frozen
class Hello:
    name: str


@CATALOG.message("greet.greeting")
@frozen
class Greeting:
    text: str
    by: ActorRef


@CATALOG.message("greet.crash")
@frozen
class Crash:
    pass


@CATALOG.message("greet.introduce")
@frozen
class Introduce:
    to: ActorRef


class Greeter(Actor):
    async def receive(self, message: Any) -> Any:
        match message:
            case Hello(name):
                return Greeting(f"hello {name}", self.context.ref)
            case Introduce(to):
                return await to.ask(Hello("neighbour"), timeout=60)
            case _:
                raise RuntimeError("crashed as told")


@define
class Watcher(Actor):
    watched: ActorRef
    seen: list[Any] = field(factory=list)

    async def started(self) -> None:
        self.context.monitor(self.watched)

    async def receive(self, message: Any) -> None:
        self.seen.append(message)


@define
class Side:
    system: ActorSystem
    transport: Transport
    events: list[PeerUp | PeerLost]
    port: int

    async def start(self, actor: Actor, name: str) -> ActorRef:
        return await self.system.start(ChildSpec(name, lambda: actor, name=name, restart=TEMPORARY))


@asynccontextmanager
async def side(name: str, settings: TransportSettings = PATIENT) -> AsyncIterator[Side]:
    me = identity(name)
    system = ActorSystem(node=me.node, incarnation=me.incarnation)
    events: list[PeerUp | PeerLost] = []

    def next_life() -> Any:
        system.incarnation = life(system.incarnation.counter + 1)
        return system.incarnation

    transport = Transport(
        me,
        secret=SECRET,
        identification=identification_of(CLUSTER, name, "worker"),
        catalog=CATALOG,
        inbound=system,
        settings=settings,
        on_peer=events.append,
        next_incarnation=next_life,
        hooks=reference_hooks(system),
    )
    system.attach(transport)
    raw = listening_socket()
    async with transport, system, anyio.create_task_group() as tasks:
        tasks.start_soon(transport.serve, [raw])
        yield Side(system, transport, events, raw.getsockname()[1])
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def two(settings: TransportSettings = PATIENT) -> AsyncIterator[tuple[Side, Side]]:
    async with side("left", settings) as left, side("right", settings) as right:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.events and right.events)
        yield left, right


async def test_an_actor_abroad_is_asked_by_name_and_by_the_ref_that_it_gave() -> None:
    async with two() as (left, right):
        await right.start(Greeter(), "greeter")
        abroad = left.system.named("greeter", right.system.node)
        greeting = await abroad.ask(Hello("you"), timeout=60)
        assert greeting.text == "hello you"
        assert greeting.by.address.node == "right"
        assert (await greeting.by.ask(Hello("again"), timeout=60)).text == "hello again"


async def test_a_ref_handed_abroad_leads_back_home() -> None:
    async with two() as (left, right):
        at_home = await left.start(Greeter(), "home")
        await right.start(Greeter(), "greeter")
        greeting = await left.system.named("greeter", right.system.node).ask(Introduce(at_home), timeout=60)
        assert greeting.by == at_home


async def test_a_crash_abroad_is_an_error_to_the_asker_and_a_down_to_the_monitor() -> None:
    async with two() as (left, right):
        await right.start(Greeter(), "greeter")
        abroad = (await left.system.named("greeter", right.system.node).ask(Hello("x"), timeout=60)).by
        watcher = Watcher(abroad)
        await left.start(watcher, "watcher")
        await until(lambda: right.transport.statistics().links[0].unacknowledged == 0)
        with pytest.raises(RemoteFailure, match="crashed as told"):
            await abroad.ask(Crash(), timeout=60)
        await until(lambda: watcher.seen)
        assert isinstance(watcher.seen[0], Down)


@define
class Mourner(Actor):
    """Watches many, and writes down what each of them said and that it ended, in the order of both."""

    watched: list[ActorRef]
    seen: list[tuple[str, str]] = field(factory=list)

    async def started(self) -> None:
        for ref in self.watched:
            self.context.monitor(ref)

    async def receive(self, message: Any) -> None:
        match message:
            case Hello(name):
                self.seen.append((name, "said"))
            case Down(ref):
                self.seen.append((str(ref.address.key), "down"))


class Mortal(Actor):
    async def receive(self, message: Any) -> None:
        message.to.tell(Hello(str(self.context.ref.address.key)))
        self.context.stop()


@pytest.mark.slow
async def test_ten_thousand_last_words_come_before_one_down_each_and_the_link_stays() -> None:
    many = 10_000
    async with two(TransportSettings()) as (left, right):
        mortals = [
            await right.system.start(ChildSpec(f"mortal-{number}", Mortal, restart=TEMPORARY))
            for number in range(many)
        ]
        abroad = [left.system.ref(ref.address) for ref in mortals]
        mourner = Mourner(abroad)
        limits = MailboxLimits(messages=2 * many, bytes=2**26)
        spec = ChildSpec("mourner", lambda: mourner, name="mourner", restart=TEMPORARY, mailbox=limits)
        await left.system.start(spec)
        await until(lambda: not left.transport.statistics().links[0].unacknowledged, within=60)
        to = right.system.named("mourner", left.system.node)
        for ref in mortals:
            ref.tell(Introduce(to))
        await until(lambda: len(mourner.seen) >= 2 * many, within=60)
        await anyio.sleep(0.2)
        keys = [str(ref.address.key) for ref in mortals]
        assert sorted(mourner.seen) == sorted((key, what) for key in keys for what in ("said", "down"))
        place = {entry: number for number, entry in enumerate(mourner.seen)}
        assert all(place[key, "said"] < place[key, "down"] for key in keys)
        assert [type(event) for event in left.events + right.events] == [PeerUp, PeerUp]


async def test_a_lost_node_fails_its_asks_and_downs_its_actors_once() -> None:
    async with side("left") as left:
        async with side("right") as right:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: left.events and right.events)
            await right.start(Greeter(), "greeter")
            abroad = (await left.system.named("greeter", right.system.node).ask(Hello("x"), timeout=60)).by
            watcher = Watcher(abroad)
            await left.start(watcher, "watcher")
        await until(lambda: watcher.seen)
        assert len(watcher.seen) == 1
        with pytest.raises(PeerDown):
            await abroad.ask(Hello("x"), timeout=60)


async def test_an_actor_of_a_node_without_a_link_is_down_because_of_its_node() -> None:
    async with side("left") as left:
        watcher = Watcher(left.system.ref(Address(NodeId("right"), Incarnation(1, 1), 5)))
        await left.start(watcher, "watcher")
        await until(lambda: watcher.seen)
        (down,) = watcher.seen
        assert isinstance(down, Down)
        assert down.reason == NodeDown("no link to right")
