"""Two actors throw a ball to each other; whoever watches is told when the game is over.

Run it:  python examples/ping_pong.py
"""

from __future__ import annotations

import anyio
from attrs import frozen

from sllm_actors.actors import TEMPORARY, Actor, ActorRef, ActorSystem, ChildSpec, Down


@frozen
class Ball:
    """Carries who threw it, since a ref is a value like any other."""

    throws_left: int
    thrower: ActorRef


class Player(Actor):
    async def receive(self, message: Ball) -> None:
        print(f"{self.context.name}: {message.throws_left} to go")
        if message.throws_left == 0:
            self.context.stop()
        else:
            message.thrower.tell(Ball(message.throws_left - 1, self.context.ref))


class Spectator(Actor):
    def __init__(self, players: tuple[ActorRef, ...], over: anyio.Event) -> None:
        self.players = players
        self.over = over

    async def started(self) -> None:
        for player in self.players:
            self.context.monitor(player)

    async def receive(self, message: Down) -> None:
        print(f"game over: a player is down ({message.reason})")
        self.over.set()


async def main() -> None:
    async with ActorSystem() as system:
        ping = await system.start(ChildSpec("ping", Player, TEMPORARY, name="ping"))
        pong = await system.start(ChildSpec("pong", Player, TEMPORARY, name="pong"))
        over = anyio.Event()
        await system.start(ChildSpec("spectator", lambda: Spectator((ping, pong), over)))
        ping.tell(Ball(5, thrower=pong))
        await over.wait()


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
