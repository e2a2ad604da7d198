"""Many actors that crash, stop, are killed, ask and watch each other: promises hold, nothing stays behind."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    AT_ONCE,
    Actor,
    ActorRef,
    AskError,
    Backoff,
    ChildSpec,
    Down,
    MailboxLimits,
    MonitorId,
    Restart,
    StartFailed,
    Strategy,
    SupervisorSpec,
)
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

ROUNDS = 40


class World:
    """What all actors of one run share: the dice, and what they count."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.refs: list[ActorRef] = []
        self.asks: Counter[str] = Counter()
        self.downs: Counter[tuple[int, MonitorId]] = Counter()
        self.last: dict[tuple[int, int], int] = {}  # (sender, receiver) -> the last number that arrived
        self.sent: Counter[tuple[int, int]] = Counter()
        self.children = 0

    def spec(self, child_id: str) -> ChildSpec:
        return ChildSpec(
            child_id,
            lambda: Troubled(self),
            self.rng.choice(list(Restart)),
            self.rng.choice([0, 0.02, 5.0]),
            backoff=self.rng.choice([AT_ONCE, Backoff(first=0.005)]),
            mailbox=MailboxLimits(messages=self.rng.choice([3, 1000])),
        )


class Troubled(Actor):
    def __init__(self, world: World) -> None:
        self.world = world

    async def started(self) -> None:
        self.world.refs.append(self.context.ref)
        if self.world.rng.random() < 0.1:
            raise OSError("cannot start")

    async def receive(self, message: Any) -> Any:
        world, rng, context = self.world, self.world.rng, self.context
        me = int(context.ref.address.key)
        if isinstance(message, Down):
            world.downs[me, message.watch] += 1
            return None
        if isinstance(message, tuple):
            sender, number = message
            assert number > world.last.get((sender, me), 0), "out of order or twice"
            world.last[sender, me] = number
        other = rng.choice(world.refs)
        match rng.randrange(12):
            case 0:
                raise ValueError("crash")
            case 1:
                context.stop()
            case 2:
                await anyio.sleep(rng.random() * 0.01)
            case 3:
                await self.ask(other)
            case 4:
                context.monitor(other)
            case 5:
                context.demonitor(context.monitor(other))
            case 6:
                context.after(rng.random() * 0.01, "tick")
            case 7:
                context.start_soon(self.work, other)
            case 8:
                world.children += 1
                with suppress(StartFailed):
                    await context.start_child(world.spec(f"child{world.children}"))
            case 9:
                context.reply_later()
            case _:
                key = me, int(other.address.key)
                world.sent[key] += 1
                other.tell((me, world.sent[key]))
        return message

    async def work(self, other: ActorRef) -> None:
        await self.ask(other)
        if self.world.rng.random() < 0.2:
            raise RuntimeError("crash in the background")

    async def ask(self, other: ActorRef) -> None:
        self.world.asks["asked"] += 1
        try:
            await other.ask("question", timeout=0.02)
        except AskError as error:
            self.world.asks[type(error).__name__] += 1
        except anyio.get_cancelled_exc_class():
            self.world.asks["cancelled"] += 1
            raise
        else:
            self.world.asks["answered"] += 1

    async def stopped(self, reason: object) -> None:
        if self.world.rng.random() < 0.1:
            raise OSError("cannot stop")
        await anyio.sleep(self.world.rng.random() * 0.005)


@pytest.mark.parametrize("seed", range(6))
async def test_a_run_of_trouble(seed: int) -> None:
    world = World(seed)
    with anyio.fail_after(60):
        async with TestSystem(max_restarts=10**6, rng=random.Random(seed)) as system:
            for number, strategy in enumerate(list(Strategy) * 2):
                children = tuple(world.spec(f"{number}-{n}") for n in range(4))
                with suppress(StartFailed):
                    await system.start(SupervisorSpec(f"sup{number}", strategy, 20, 0.1, children=children))
            for _ in range(ROUNDS):
                for _ in range(10):
                    world.rng.choice(world.refs).tell("go on")
                cell = world.rng.choice(world.refs).cell
                if world.rng.random() < 0.2 and cell is not None:
                    cell.kill()
                await anyio.sleep(0.002)
        # Leaving the system has checked that nothing is left behind.
    outcomes = sum(count for outcome, count in world.asks.items() if outcome != "asked")
    assert outcomes == world.asks["asked"]
    assert set(world.downs.values()) <= {1}
