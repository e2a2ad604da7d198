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
from sllm_actors.engines.backends.sleep import SleepTiers
from sllm_actors.engines.backends.work_metrics import WorkMetrics
from sllm_actors.engines.errors import LaunchProblem, name_worker
from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.life_end import UNKNOWN_EXIT
from sllm_actors.engines.machine.gpus import GpuAllocation, visible
from sllm_actors.engines.machine.log_reader import log_end, read_lines
from sllm_actors.engines.machine.memory_gauge import Gauge, least_free, part_of_free
from sllm_actors.engines.messages import EngineConfirmed, ReplicaOrder
from sllm_actors.engines.ownership.engine_process import EngineProcess, Exit
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.prefetch import prefetch

from .confirmation import Confirming, EngineCheck, ServerCheck
from .core_share import keep_on_its_share
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
from .gpu_log import lacked, used_beside_cache
from .readiness import HealthProbe
from .recent_pressure import Pressure
from .root_cause import root_cause, telling_lines
from .server_watch import ServerWatch
from .startup_phase import follow_phases
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

MEASURE_INTERVAL = 5.0
"""Seconds between two looks at how much memory an engine has."""

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
    _started: Callable[[], None] = field(default=lambda: None, init=False)
    _gpus: GpuAllocation = field(factory=GpuAllocation, init=False)
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
            self._gpus = allocation
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

    def _pressed(self, pressure: Pressure) -> None:
        self.say(Pressed(self.attempt, pressure))

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
            self._started = started
            part = allocation.fraction
            if launch.share_of_free:
                free = await anyio.to_thread.run_sync(least_free, allocation.gpus, abandon_on_cancel=True)
                part = part_of_free(allocation, free)
            plan = evolve(plan, argv=(*plan.argv, *launch.share_argument(part)))
            await self._run_plan(launch, plan, allocation, since, deadline)

    async def _run_plan(
        self, launch: Launch, plan: LaunchPlan, allocation: GpuAllocation, since: int, deadline: float
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
            ended = await self._watch(launch, engine, since, deadline)
            self._end(ended)
            if not ended.exit_status:
                await engine.stop(HUNG_BUDGET)

    async def _watch(self, launch: Launch, engine: EngineProcess, since: int, deadline: float) -> Ended:
        """Follow the process and its health, until either says that it is over."""
        verdicts: list[Ended] = []
        exits: list[Exit] = []
        ready = anyio.Event()
        gauge = Gauge(engine.leash_pid, self._gpus)
        self._check = EngineCheck(launch, self.host.policy.health, engine.leash_pid, self._over)

        async def follow_process() -> None:
            exit_ = await engine.exited()
            exits.append(exit_)
            verdicts.append(self._ended(_reason(exit_, ready=ready.is_set()), str(exit_) or UNKNOWN_EXIT))
            group.cancel_scope.cancel()

        async with (
            HealthProbe(
                launch.address, launch.health, self.host.policy.health, launch.key, engine.leash_pid
            ) as probe,
            anyio.create_task_group() as group,
        ):
            group.start_soon(follow_process)
            group.start_soon(keep_on_its_share, engine, self.host.hardware.cores, ready)
            group.start_soon(self._measure, gauge)
            health = await self._follow_health(probe, launch, engine, gauge, ready, since, deadline)
            verdicts.append(self._ended(health))
            group.cancel_scope.cancel()
        exit_ = exits[0] if exits else Exit()
        share = 0 if ready.is_set() or not self._gpus.shared else self._gpus.memory
        return await anyio.to_thread.run_sync(
            _with_log, verdicts[0], exit_, engine.plan.paths.log, since, share
        )

    async def _measure(self, gauge: Gauge) -> None:
        """Tell how much memory the engine has, until cancelled."""
        while True:
            await anyio.sleep(MEASURE_INTERVAL)
            used = await gauge.used()
            self.say(Gauged(self.attempt, used.memory, used.gpu_memory))

    async def _follow_health(
        self,
        probe: HealthProbe,
        launch: Launch,
        engine: EngineProcess,
        gauge: Gauge,
        ready: anyio.Event,
        since: int,
        deadline: float,
    ) -> str:
        doing = "starting"

        def progressed(now: str) -> None:
            nonlocal doing
            doing = now
            self.say(Progressed(self.attempt, now))

        problem = ""
        with anyio.CancelScope(deadline=deadline) as start:
            async with anyio.create_task_group() as following:
                if launch.weights is not None:
                    following.start_soon(prefetch, launch.weights)
                if launch.plan is None or launch.phase_of is None:
                    problem = await probe.until_ready(progressed, engine.output)
                else:  # its log says more of the start than its health path
                    following.start_soon(
                        follow_phases, launch.plan.paths.log, since, launch.phase_of, progressed
                    )
                    problem = await probe.until_ready(_ignore, engine.output)
                following.cancel_scope.cancel()
        if start.cancelled_caught:
            return f"it was not ready within {self.order.startup_timeout:g} s: {doing}"
        if problem:
            return problem
        ready.set()
        used = await self._used_beside_cache(launch, since)
        self._started()
        self.say(
            Answered(
                self.attempt,
                launch.address,
                can_sleep=launch.tiers is not None,
                key=launch.key,
                concurrency=launch.concurrency,
                context_length=launch.context_length,
                gpu_used=used,
            )
        )
        return await self._until_ill(probe, launch, gauge)

    async def _used_beside_cache(self, launch: Launch, since: int) -> int:
        """Return what the log says of that; 0 where the engine shares out no share of its own."""
        if launch.plan is None or launch.share_of_free or not self._gpus.shared:
            return 0
        lines = await anyio.to_thread.run_sync(read_lines, launch.plan.paths.log, since)
        return used_beside_cache(lines, self._gpus.memory)

    async def _until_ill(self, probe: HealthProbe, launch: Launch, gauge: Gauge) -> str:
        verdicts: list[str] = []

        async def watch_work(work: WorkMetrics) -> None:
            verdicts.append(f"it hangs: {await probe.until_hung(work, self._pressed)}")
            group.cancel_scope.cancel()

        async def change_tiers(tiers: SleepTiers) -> None:
            pool = self.host.hardware.gpus
            changes = self._tier_changes.make(tiers, probe, pool, self._gpus, gauge, launch.weights)
            verdicts.append(await changes)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            if launch.work is not None:
                group.start_soon(watch_work, launch.work)
            if launch.tiers is not None:
                group.start_soon(change_tiers, launch.tiers)
            verdicts.append(await probe.until_unhealthy())
            group.cancel_scope.cancel()
        return verdicts[0]

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


def _reason(exit_: Exit, *, ready: bool) -> str:
    return exit_.sentence if ready else f"{exit_.sentence} before it was ready"


def _with_log(ended: Ended, exit_: Exit, log: Path, since: int, share: int) -> Ended:
    """Add what the log says of an end; ``share`` is of an engine that was starting. Reads the disk."""
    lines = read_lines(log, since)
    cause = root_cause(lines) if exit_.signal is None else None
    reason = ended.reason if cause is None or exit_.code is None else f"{ended.reason}: {cause.sentence}"
    short = 0 if cause is None else lacked(cause.sentence, share)
    return evolve(ended, reason=reason, log_tail=telling_lines(lines, TAIL, cause), gpu_lacked=short)


def _ignore(_: str) -> None:
    pass
