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
    NodeDown,
    NodeId,
    PeerDown,
    RemoteFailure,
)
from sllm_actors.transport import PeerLost, PeerUp, Transport, reference_hooks

from .kit import QUICK, SECRET, identity, life, listening_socket, until

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
                return await to.ask(Hello("neighbour"), timeout=3)
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
async def side(name: str) -> AsyncIterator[Side]:
    me = identity(name)
    system = ActorSystem(node=me.node, incarnation=me.incarnation)
    events: list[PeerUp | PeerLost] = []

    def next_life() -> Any:
        system.incarnation = life(system.incarnation.counter + 1)
        return system.incarnation

    transport = Transport(
        me,
        secret=SECRET,
        catalog=CATALOG,
        inbound=system,
        settings=QUICK,
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
async def two() -> AsyncIterator[tuple[Side, Side]]:
    async with side("left") as left, side("right") as right:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.events and right.events)
        yield left, right


async def test_an_actor_abroad_is_asked_by_name_and_by_the_ref_that_it_gave() -> None:
    async with two() as (left, right):
        await right.start(Greeter(), "greeter")
        abroad = left.system.named("greeter", right.system.node)
        greeting = await abroad.ask(Hello("you"), timeout=3)
        assert greeting.text == "hello you"
        assert greeting.by.address.node == "right"
        assert (await greeting.by.ask(Hello("again"), timeout=3)).text == "hello again"


async def test_a_ref_handed_abroad_leads_back_home() -> None:
    async with two() as (left, right):
        at_home = await left.start(Greeter(), "home")
        await right.start(Greeter(), "greeter")
        greeting = await left.system.named("greeter", right.system.node).ask(Introduce(at_home), timeout=3)
        assert greeting.by == at_home


async def test_a_crash_abroad_is_an_error_to_the_asker_and_a_down_to_the_monitor() -> None:
    async with two() as (left, right):
        await right.start(Greeter(), "greeter")
        abroad = (await left.system.named("greeter", right.system.node).ask(Hello("x"), timeout=3)).by
        watcher = Watcher(abroad)
        await left.start(watcher, "watcher")
        await until(lambda: right.transport.statistics().links[0].unacknowledged == 0)
        with pytest.raises(RemoteFailure, match="crashed as told"):
            await abroad.ask(Crash(), timeout=3)
        await until(lambda: watcher.seen)
        assert isinstance(watcher.seen[0], Down)


async def test_a_lost_node_fails_its_asks_and_downs_its_actors_once() -> None:
    async with side("left") as left:
        async with side("right") as right:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: left.events and right.events)
            await right.start(Greeter(), "greeter")
            abroad = (await left.system.named("greeter", right.system.node).ask(Hello("x"), timeout=3)).by
            watcher = Watcher(abroad)
            await left.start(watcher, "watcher")
        await until(lambda: watcher.seen)
        assert len(watcher.seen) == 1
        with pytest.raises(PeerDown):
            await abroad.ask(Hello("x"), timeout=3)


async def test_an_actor_of_a_node_without_a_link_is_down_because_of_its_node() -> None:
    async with side("left") as left:
        watcher = Watcher(left.system.ref(Address(NodeId("right"), Incarnation(1, 1), 5)))
        await left.start(watcher, "watcher")
        await until(lambda: watcher.seen)
        (down,) = watcher.seen
        assert isinstance(down, Down)
        assert down.reason == NodeDown("no link to right")
