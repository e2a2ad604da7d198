"""What the port of OTP's ``supervisor_SUITE`` works with: workers that do as they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import frozen

from sllm_actors.actors import (
    AT_ONCE,
    ONE_FOR_ONE,
    PERMANENT,
    TEMPORARY,
    Actor,
    ActorRef,
    ChildCounts,
    ChildSpec,
    ChildState,
    CountChildren,
    Down,
    ExitReason,
    Restart,
    Spec,
    StartIgnored,
    Strategy,
    SupervisorSpec,
    WhichChildren,
)
from sllm_actors.testing import TestProbe, TestSystem


@frozen
class Exit:
    """End with this reason."""

    reason: ExitReason


@frozen
class Crash:
    """Raise."""


@frozen
class Kill:
    """Be killed; nothing to be sent."""


@frozen
class Sleep:
    """Be busy for ever."""


class Script:
    """What the workers of one test do at their starts, and how often each has started."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()
        self.fail_at: dict[str, set[int]] = {}  # the ordinal numbers of starts that fail
        self.fail_always: set[str] = set()
        self.ignore: set[str] = set()
        self.fail_to_stop: set[str] = set()
        self.log: list[str] = []

    def worker(
        self, child_id: str, restart: Restart = PERMANENT, shutdown: float = 1.0, **others: Any
    ) -> ChildSpec:
        return ChildSpec(
            child_id, lambda: Worker(self, child_id), restart, shutdown, backoff=AT_ONCE, **others
        )


class Worker(Actor):
    def __init__(self, script: Script, child_id: str) -> None:
        self.script = script
        self.id = child_id

    async def started(self) -> None:
        script = self.script
        script.starts[self.id] += 1
        if self.id in script.ignore:
            raise StartIgnored
        if self.id in script.fail_always or script.starts[self.id] in script.fail_at.get(self.id, ()):
            raise RuntimeError("told to fail")
        script.log.append(f"+{self.id}")

    async def receive(self, message: Any) -> Any:
        match message:
            case Exit():
                self.context.stop(message.reason)
            case Crash():
                raise RuntimeError("told to crash")
            case Sleep():
                await anyio.sleep_forever()
            case _:
                return message
        return None

    async def stopped(self, reason: ExitReason) -> None:
        self.script.log.append(f"-{self.id}")
        if self.id in self.script.fail_to_stop:
            raise RuntimeError("told to fail")


def end(ref: ActorRef, how: Exit | Crash | Kill) -> None:
    """Make an actor end."""
    if isinstance(how, Kill):
        assert ref.cell is not None
        ref.cell.kill()
    else:
        ref.tell(how)


async def counts_of(supervisor: ActorRef) -> list[int]:
    """Return the counts in the order in which OTP's suite compares them."""
    found: ChildCounts = await supervisor.ask(CountChildren(), timeout=60)
    return [found.specs, found.active, found.supervisors, found.workers]


class Dynamic:
    """An actor and its own supervisor: the counterpart of OTP's ``simple_one_for_one``."""

    def __init__(self, owner: TestProbe) -> None:
        self.owner = owner
        self.start = owner.context.start_child
        self.stop = owner.context.stop_child

    @property
    def sup(self) -> ActorRef:
        """Its own supervisor, which is there once a child was started."""
        children = self.owner.context._cell.owned_resources().children
        assert children is not None
        return children.ref

    async def children(self) -> dict[str, ActorRef | None]:
        found: tuple[ChildState, ...] = await self.sup.ask(WhichChildren(), timeout=60)
        return {each.id: each.ref for each in found}

    async def counts(self) -> list[int]:
        return await counts_of(self.sup)


class Suite:
    """One supervisor under test, watched by a probe."""

    def __init__(self, system: TestSystem, probe: TestProbe, sup: ActorRef) -> None:
        self.system = system
        self.probe = probe
        self.sup = sup
        self._watch = probe.monitor(sup)

    async def ask(self, message: Any) -> Any:
        return await self.sup.ask(message, timeout=60)

    async def children(self) -> dict[str, ActorRef | None]:
        found: tuple[ChildState, ...] = await self.ask(WhichChildren())
        return {each.id: each.ref for each in found}

    async def ref(self, child_id: str) -> ActorRef:
        found = (await self.children())[child_id]
        assert found is not None
        return found

    async def counts(self) -> list[int]:
        return await counts_of(self.sup)

    async def end_child(self, child_id: str, how: Exit | Crash | Kill) -> ExitReason:
        """Make a child end, wait for that, and for the supervisor to have done what follows at once."""
        ref = await self.ref(child_id)
        self.probe.monitor(ref)
        end(ref, how)
        down = await self.probe.expect(Down)
        assert down.ref == ref
        await anyio.wait_all_tasks_blocked()
        return down.reason

    async def dynamic(self) -> Dynamic:
        """Start an actor that will have children of its own."""
        return Dynamic(await self.system.probe())

    async def sup_lives(self) -> None:
        """Check that nothing has happened to the supervisor, and nothing comes."""
        await self.probe.expect_nothing()
        assert await self.counts()

    async def sup_ends(self) -> ExitReason:
        down = await self.probe.expect(Down)
        assert down.ref == self.sup
        return down.reason


@asynccontextmanager
async def supervisor(
    *children: Spec,
    strategy: Strategy = ONE_FOR_ONE,
    max_restarts: int = 2,
    window: float = 3600.0,
    **others: Any,
) -> AsyncIterator[Suite]:
    """Run a supervisor as OTP's suite does: two restarts in an hour, and nobody above it restarts it."""
    spec = SupervisorSpec(
        "sup", strategy, max_restarts, window, children=children, restart=TEMPORARY, **others
    )
    with anyio.fail_after(60):
        async with TestSystem() as system:
            probe = await system.probe()
            yield Suite(system, probe, await system.start(spec))
