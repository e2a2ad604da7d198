"""A counter that is made to crash, and the supervisor that brings it back; the counts live in another actor.

Run it:  python examples/supervised_counter.py
"""

from __future__ import annotations

import anyio
from attrs import frozen

from sllm_actors.actors import (
    REST_FOR_ONE,
    Actor,
    ActorSystem,
    Backoff,
    ChildSpec,
    RemoteFailure,
    SupervisorSpec,
)


@frozen
class Save:
    total: int


@frozen
class Load:
    pass


@frozen
class Add:
    number: int


class Store(Actor):
    """Keeps the total: it stands first, so that a crash of the counter does not touch it."""

    total = 0

    async def receive(self, message: Save | Load) -> int:
        if isinstance(message, Save):
            self.total = message.total
        return self.total


class Counter(Actor):
    total: int

    async def started(self) -> None:
        self.total = await self.context.system.named("store").ask(Load(), timeout=1)
        print(f"counter: started at {self.total}")

    async def receive(self, message: Add) -> int:
        if message.number < 0:
            raise ValueError("only upwards")
        self.total += message.number
        await self.context.system.named("store").ask(Save(self.total), timeout=1)
        return self.total


async def main() -> None:
    counting = SupervisorSpec(
        "counting",
        REST_FOR_ONE,
        max_restarts=3,
        window=5.0,
        children=(
            ChildSpec("store", Store, name="store"),
            ChildSpec("counter", Counter, name="counter", backoff=Backoff(first=0.05)),
        ),
    )
    async with ActorSystem() as system:
        await system.start(counting)
        counter = system.named("counter")  # a name follows restarts, a ref does not
        print("total:", await counter.ask(Add(40), timeout=1))
        try:
            await counter.ask(Add(-1), timeout=1)
        except RemoteFailure as error:
            print("refused:", error)
        await anyio.sleep(0.2)  # longer than the back-off can be
        print("total:", await counter.ask(Add(2), timeout=1))


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
