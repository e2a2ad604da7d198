"""Actors whose hooks are functions of the test's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from sllm_actors.actors import AT_ONCE, PERMANENT, TEMPORARY, Actor, ActorRef, ChildSpec, ExitReason, Restart
from sllm_actors.testing import TestSystem

Handler = Callable[["Scripted", Any], Awaitable[Any]]
Hook = Callable[["Scripted"], Awaitable[Any]]


async def echo(_actor: Scripted, message: Any) -> Any:
    """Answer with the message."""
    return message


async def hang(_actor: Scripted, _message: Any) -> None:
    """Never come to an end."""
    await anyio.sleep_forever()


class Scripted(Actor):
    """Calls the functions, and logs when it has started and stopped."""

    def __init__(
        self,
        receive: Handler = echo,
        started: Hook | None = None,
        stopped: Hook | None = None,
        log: list[str] | None = None,
    ) -> None:
        self.on_receive = receive
        self.on_started = started
        self.on_stopped = stopped
        self.log = [] if log is None else log

    async def started(self) -> None:
        if self.on_started is not None:
            await self.on_started(self)
        self.log.append("started")

    async def receive(self, message: Any) -> Any:
        return await self.on_receive(self, message)

    async def stopped(self, reason: ExitReason) -> None:
        self.log.append(f"stopped: {reason}")
        if self.on_stopped is not None:
            await self.on_stopped(self)


def scripted(
    child_id: str = "a",
    receive: Handler = echo,
    *,
    started: Hook | None = None,
    stopped: Hook | None = None,
    log: list[str] | None = None,
    restart: Restart = PERMANENT,
    **others: Any,
) -> ChildSpec:
    """Return the spec of such an actor, restarted without delay."""
    return ChildSpec(
        child_id, lambda: Scripted(receive, started, stopped, log), restart, backoff=AT_ONCE, **others
    )


async def start(system: TestSystem, receive: Handler = echo, **others: Any) -> ActorRef:
    """Start such an actor."""
    return await system.start(scripted(receive=receive, **others))


async def start_once(
    system: TestSystem, receive: Handler = echo, child_id: str = "a", **others: Any
) -> ActorRef:
    """Start such an actor, which is not restarted when it has ended."""
    return await system.start(scripted(child_id, receive, restart=TEMPORARY, **others))
