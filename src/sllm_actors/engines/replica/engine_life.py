"""One engine life: start the engine, report what it does, and report how it ended."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from attrs import Factory, define, evolve, field

from sllm_actors.descriptors import explain
from sllm_actors.disk import DiskSilent
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.inspection import paths_of
from sllm_actors.engines.backends.registry import backend_named, with_variables
from sllm_actors.engines.errors import LaunchProblem, name_worker
from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.machine.gpus import GpuAllocation, visible
from sllm_actors.engines.machine.log_reader import log_end, read_lines
from sllm_actors.engines.machine.memory_gauge import least_free, part_of_free
from sllm_actors.engines.messages import EngineConfirmed, ReplicaOrder
from sllm_actors.engines.ownership.engine_process import EngineProcess, Exit
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.models.errors import SourceProblem

from .confirmation import Confirming, EngineCheck, ServerCheck
from .engine_watch import EngineWatch
from .events import (
    Admitted,
    Answered,
    Delayed,
    Ended,
    Gauged,
    NoMemory,
    NoRoom,
    Pressed,
    ProcessStarted,
    Progressed,
    PutToSleep,
    Slept,
    Unreached,
    WakeUp,
    Woken,
)
from .gpu_log import lacked
from .root_cause import root_cause, telling_lines
from .server_watch import ServerWatch
from .tier_changes import TierChanges

log = structlog.get_logger()

Say = Callable[
    [
        Delayed
        | Admitted
        | Gauged
        | Pressed
        | ProcessStarted
        | Progressed
        | Answered
        | Unreached
        | Slept
        | Woken
        | NoRoom
        | NoMemory
        | Ended
    ],
    None,
]

TAIL = 20
"""How many lines of the log are reported with a failure."""

FRAMES = 10
"""How many of the innermost frames are logged when the worker itself has a bug; values are never logged."""

HUNG_BUDGET = 1.0
"""Seconds between SIGTERM and SIGKILL for an engine that does not answer any more."""


@define
class EngineLife:
    """One life of a replica's engine.

    Attributes:
        order: What to run.
        host: What the worker's engines share.
        attempt: The attempt number.
        say: Called with each event; ``Ended`` comes once, as soon as the engine's own process has ended.
        start: The number of this engine life among the replica's, for people: 1, 2, 3.
    """

    order: ReplicaOrder
    host: EngineHost
    attempt: int
    say: Say
    start: int
    _tier_changes: TierChanges = field(
        default=Factory(lambda life: TierChanges(life.attempt, life.say), takes_self=True), init=False
    )
    _over: anyio.Event = field(factory=anyio.Event, init=False)
    _check: Confirming | None = field(default=None, init=False)
    _downloading: bool = field(default=False, init=False)

    def change_tier(self, wanted: PutToSleep | WakeUp) -> None:
        """Have the engine put to sleep or woken; several changes are made one after the other."""
        self._tier_changes.ask(wanted)

    async def confirm(self) -> EngineConfirmed:
        """Find out, within ``CONFIRM_SECONDS``, whether the engine serves."""
        if self._check is None:
            return EngineConfirmed(reason="it has not been ready yet")
        return await self._check.confirm()

    async def run(self) -> None:
        """Run until the engine has ended and nothing of it is left; errors are reported, not raised.

        A cancellation ends the engine: SIGTERM, ``stop_budget``, SIGKILL.
        """
        python = partial(self.host.interpreters.of, self.order.backend)
        try:
            async with self.host.models.lend(
                self.order.backend, self.order.source, python, self._brought, count=self._counted
            ) as source:
                await self._launch(evolve(self.order, source=source))
        except (LaunchProblem, SourceProblem, DiskSilent) as problem:
            self._end(self._ended(str(problem)))
        except OSError as error:
            self._end(self._ended(f"the engine cannot be started: {explain(error)}"))
        except Exception as error:  # noqa: BLE001 - a mistake of ours is a failure too, and no busy loop
            self._end(self._ended(f"the worker made a mistake, see its log: {self._logged(error)}"))

    async def _launch(self, order: ReplicaOrder) -> None:
        """Run the engine of an order whose model files are here."""
        paths = self.host.folders.paths_for(order.key.attempt(self.attempt))
        deadline = anyio.current_time() + order.startup_timeout
        for path in paths_of(self.order, self.host):
            await self.host.disk.check(path)
        launch = await self.host.disk.run(
            order.source,
            partial(self._planned, order, paths),
            patience=order.startup_timeout,
        )
        if launch.plan is None:
            self._check = ServerCheck(launch, self.host.disk)
            self._end(self._ended(await self._watch_server(launch, order)))
            return
        await self.host.disk.check(launch.plan.argv[0])
        pool = self.host.hardware.gpus
        async with pool.allocate(
            order.num_gpus, deadline, self._delayed, memory=order.gpu_memory
        ) as allocation:
            self.say(Admitted(self.attempt, allocation.gpus, allocation.memory, launch.gpu_figures))
            with self.host.hardware.cores.allocate(
                launch.plan.threads if launch.plan.own_cores else 0
            ) as cores:
                await self._run(launch, evolve(launch.plan, cores=cores), allocation, deadline)

    async def _watch_server(self, launch: Launch, order: ReplicaOrder) -> str:
        watch = ServerWatch(
            address=launch.address,
            paths=launch.health,
            access=launch.server or ServerAccess(),
            model=order.model,
            attempt=self.attempt,
            policy=self.host.policy.health,
            startup_timeout=order.startup_timeout,
            say=self.say,
            disk=self.host.disk,
        )
        return await watch.run()

    def _planned(self, order: ReplicaOrder, paths: EnginePaths) -> Launch:
        launch = backend_named(order.backend).launch(order, self.host, paths)
        return with_variables(launch, order, self.host)

    def _progressed(self, progress: str) -> None:
        self.say(Progressed(self.attempt, name_worker(progress, self.host.name)))

    def _counted(self, done: int, total: int) -> None:
        self._downloading = done < total

    def _brought(self, progress: str) -> None:
        self.say(Progressed(self.attempt, name_worker(progress, self.host.name), self._downloading))

    def _delayed(self, reason: str) -> None:
        self.say(Delayed(self.attempt, name_worker(reason, self.host.name)))

    async def _run(
        self, launch: Launch, planned: LaunchPlan, allocation: GpuAllocation, deadline: float
    ) -> None:
        """Run the engine's process from start to end."""
        since = await anyio.to_thread.run_sync(log_end, planned.paths.log)
        plan = evolve(
            planned,
            header=f"---- attempt {self.start} of {self.order.key}",
            env=visible(planned.env, self.host.hardware.gpus, allocation),
            gpus=allocation.gpus,
            gpu_memory=self.host.hardware.gpu_memory(allocation.gpus),
        )
        async with self.host.hardware.gpus.turn(allocation.gpus) as started:
            part = allocation.fraction
            if launch.share_of_free:
                free = await anyio.to_thread.run_sync(least_free, allocation.gpus, abandon_on_cancel=True)
                part = part_of_free(allocation, free)
            plan = evolve(plan, argv=(*plan.argv, *launch.share_argument(part)))
            await self._run_plan(launch, plan, allocation, since, deadline, started)

    async def _run_plan(
        self,
        launch: Launch,
        plan: LaunchPlan,
        allocation: GpuAllocation,
        since: int,
        deadline: float,
        started: Callable[[], None],
    ) -> None:
        forker = await self.host.fork_servers.find(
            plan, longest=self.order.startup_timeout / 2, say=self._progressed
        )
        async with EngineProcess(
            plan,
            hold=allocation.descriptors,
            leases=self.host.leases,
            forker=forker,
            running=self.host.running,
        ) as engine:
            self.say(ProcessStarted(self.attempt, engine.pid))
            self._check = EngineCheck(launch, self.host.policy.health, engine.leash_pid, self._over)
            watch = EngineWatch(
                launch=launch,
                engine=engine,
                host=self.host,
                gpus=allocation,
                attempt=self.attempt,
                tier_changes=self._tier_changes,
                since=since,
                startup_timeout=self.order.startup_timeout,
                deadline=deadline,
                started=started,
                say=self.say,
            )
            end = await watch.run()
            ended = self._ended(end.reason, end.exit_status)
            share = 0 if end.was_ready or not allocation.shared else allocation.memory
            self._end(
                await anyio.to_thread.run_sync(_with_log, ended, end.exit, plan.paths.log, since, share)
            )
            if not end.exit_status:
                await engine.stop(HUNG_BUDGET)

    def _logged(self, error: BaseException) -> str:
        """Log where in the worker an error was raised, and return its class and message."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        reason = f"{type(error).__name__}: {error}"[:300]
        frames = "".join(traceback.format_tb(error.__traceback__, limit=-FRAMES))
        log.error("engine_life.mistake", replica=str(self.order.key), reason=reason, frames=frames)
        return reason

    def _end(self, ended: Ended) -> None:
        """Report ``Ended`` once: an error that comes while the engine is being ended is no second end."""
        if not self._over.is_set():
            self._over.set()
            self.say(ended)

    def _ended(self, reason: str, exit_status: str = "") -> Ended:
        named = name_worker(reason, self.host.name)
        return Ended(self.attempt, named, exit_status, chance=random.random())  # noqa: S311 - jitter


def _with_log(ended: Ended, exit_: Exit, log: Path, since: int, share: int) -> Ended:
    """Add what the log says of an end; ``share`` is of an engine that was starting. Reads the disk."""
    lines = read_lines(log, since)
    cause = root_cause(lines) if exit_.signal is None else None
    reason = ended.reason if cause is None or exit_.code is None else f"{ended.reason}: {cause.sentence}"
    short = 0 if cause is None else lacked(cause.sentence, share)
    return evolve(ended, reason=reason, log_tail=telling_lines(lines, TAIL, cause), gpu_lacked=short)
