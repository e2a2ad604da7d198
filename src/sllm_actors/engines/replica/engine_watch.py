"""Watching an engine that the worker has started: its process, its health, its work and its memory."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from attrs import Factory, define, field, frozen

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.sleep import SleepTiers
from sllm_actors.engines.backends.work_metrics import WorkMetrics
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.life_end import UNKNOWN_EXIT
from sllm_actors.engines.machine.gpus import GpuAllocation
from sllm_actors.engines.machine.log_reader import read_lines
from sllm_actors.engines.machine.memory_gauge import Gauge
from sllm_actors.engines.ownership.engine_process import EngineProcess, Exit
from sllm_actors.models.prefetch import prefetch

from .core_share import keep_on_its_share
from .events import Answered, Gauged, Pressed, Progressed
from .gpu_log import used_beside_cache
from .readiness import HealthProbe
from .recent_pressure import Pressure
from .startup_phase import follow_phases
from .tier_changes import TierChanges

MEASURE_INTERVAL = 5.0
"""Seconds between two looks at how much memory an engine has."""

Say = Callable[[Answered | Gauged | Pressed | Progressed], None]


@frozen
class EngineEnd:
    """Why an engine is watched no longer.

    Attributes:
        reason: As a sentence.
        exit_status: How its process ended; "" where that is not why: the engine is not well, and may run.
        exit: The same, for programs; of a process that still runs, one that says nothing.
        was_ready: Whether it had been ready.
    """

    reason: str
    exit_status: str
    exit: Exit
    was_ready: bool


@define
class EngineWatch:
    """Watches one engine from the start of its process until that has ended, or the engine is not well.

    Attributes:
        launch: How it was started.
        engine: Its process.
        host: What the worker's engines share.
        gpus: The GPUs that it has.
        attempt: The attempt number, for the events.
        tier_changes: Puts it to sleep and wakes it.
        since: Where its part of the log file begins, in bytes.
        startup_timeout: Seconds that its start may take, for people.
        deadline: When it must be ready, by the clock of the event loop.
        started: Called when it is ready.
        say: Called with each event.
    """

    launch: Launch
    engine: EngineProcess
    host: EngineHost
    gpus: GpuAllocation
    attempt: int
    tier_changes: TierChanges
    since: int
    startup_timeout: float
    deadline: float
    started: Callable[[], None]
    say: Say
    _ready: anyio.Event = field(factory=anyio.Event, init=False)
    _gauge: Gauge = field(
        default=Factory(lambda watch: Gauge(watch.engine.leash_pid, watch.gpus), takes_self=True), init=False
    )

    async def run(self) -> EngineEnd:
        """Watch, and return what came first: the end of the process, or that the engine is not well."""
        verdicts: list[tuple[str, str]] = []
        exits: list[Exit] = []

        async def follow_process() -> None:
            exit_ = await self.engine.exited()
            exits.append(exit_)
            reason = exit_.sentence if self._ready.is_set() else f"{exit_.sentence} before it was ready"
            verdicts.append((reason, str(exit_) or UNKNOWN_EXIT))
            group.cancel_scope.cancel()

        launch, policy = self.launch, self.host.policy.health
        async with (
            HealthProbe(launch.address, launch.health, policy, launch.key, self.engine.leash_pid) as probe,
            anyio.create_task_group() as group,
        ):
            group.start_soon(follow_process)
            group.start_soon(keep_on_its_share, self.engine, self.host.hardware.cores, self._ready)
            group.start_soon(self._measure)
            verdicts.append((await self._follow_health(probe), ""))
            group.cancel_scope.cancel()
        reason, exit_status = verdicts[0]
        return EngineEnd(reason, exit_status, exits[0] if exits else Exit(), self._ready.is_set())

    async def _measure(self) -> None:
        """Tell how much memory the engine has, until cancelled."""
        while True:
            await anyio.sleep(MEASURE_INTERVAL)
            used = await self._gauge.used()
            self.say(Gauged(self.attempt, used.memory, used.gpu_memory))

    async def _follow_health(self, probe: HealthProbe) -> str:
        """Return why the engine is not well, or does not become ready."""
        problem = await self._until_ready(probe)
        if problem:
            return problem
        self._ready.set()
        used = await self._used_beside_cache()
        self.started()
        self.say(
            Answered(
                self.attempt,
                self.launch.address,
                can_sleep=self.launch.tiers is not None,
                key=self.launch.key,
                concurrency=self.launch.concurrency,
                context_length=self.launch.context_length,
                gpu_used=used,
            )
        )
        return await self._until_ill(probe)

    async def _until_ready(self, probe: HealthProbe) -> str:
        """Return "" when the engine is ready, or else why it will not be."""
        launch, doing = self.launch, "starting"

        def progressed(now: str) -> None:
            nonlocal doing
            doing = now
            self.say(Progressed(self.attempt, now))

        problem = ""
        with anyio.CancelScope(deadline=self.deadline) as start:
            async with anyio.create_task_group() as following:
                if launch.weights is not None:
                    following.start_soon(prefetch, launch.weights)
                if launch.plan is None or launch.phase_of is None:
                    problem = await probe.until_ready(progressed, self.engine.output)
                else:  # its log says more of the start than its health path
                    following.start_soon(
                        follow_phases, launch.plan.paths.log, self.since, launch.phase_of, progressed
                    )
                    problem = await probe.until_ready(_ignore, self.engine.output)
                following.cancel_scope.cancel()
        if start.cancelled_caught:
            return f"it was not ready within {self.startup_timeout:g} s: {doing}"
        return problem

    async def _used_beside_cache(self) -> int:
        """Return what ``gpu_log.used_beside_cache`` finds in its log; 0 if it has no given share of a GPU."""
        launch = self.launch
        if launch.plan is None or launch.share_of_free or not self.gpus.shared:
            return 0
        lines = await anyio.to_thread.run_sync(read_lines, launch.plan.paths.log, self.since)
        return used_beside_cache(lines, self.gpus.memory)

    async def _until_ill(self, probe: HealthProbe) -> str:
        """Return why an engine that was ready is not well any more."""
        launch = self.launch
        verdicts: list[str] = []

        async def watch_work(work: WorkMetrics) -> None:
            verdicts.append(f"it hangs: {await probe.until_hung(work, self._pressed)}")
            group.cancel_scope.cancel()

        async def change_tiers(tiers: SleepTiers) -> None:
            pool = self.host.hardware.gpus
            changes = self.tier_changes.make(tiers, probe, pool, self.gpus, self._gauge, launch.weights)
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

    def _pressed(self, pressure: Pressure) -> None:
        self.say(Pressed(self.attempt, pressure))


def _ignore(_: str) -> None:
    pass
