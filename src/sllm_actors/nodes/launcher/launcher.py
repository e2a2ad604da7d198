"""The launcher: the small parent process of the nodes that one command runs.

It starts the nodes, restarts each one that ends by itself, and stops all of them when it is stopped. Each
gateway process has to answer, once a second, that its loop still turns: one that is silent for too long is
killed and started again, since clients' connections hang there.

Each node leads a session of its own, so ^C at the terminal reaches only the launcher, which then stops the
nodes: the gateways first, so that answers under way can still end, and then all others at the same time. That
takes less than ten seconds in all, the time that ``docker stop`` and most other programs give.

The standard input of each node is a pipe whose write end only the launcher has. When the launcher itself is
killed, every node reads the end of that pipe and stops.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys

import anyio
from anyio.abc import Process
from attrs import define, evolve, field

from sllm_actors.actors import Backoff
from sllm_actors.descriptors import raise_limit
from sllm_actors.nodes.settings import (
    CONFIGURATION_EXIT,
    GatewayNodeSettings,
    NodeSettings,
    believing,
    write_settings,
)
from sllm_actors.nodes.stop_signals import stop_on_hang_up, stop_signals
from sllm_actors.observe import terminal
from sllm_actors.observe.terminal import announce
from sllm_actors.observe.titles import set_title

from .health import HealthSocket
from .listening import LauncherProblem
from .orphans import reap_orphans
from .plan import LauncherPlan, PlannedNode
from .welcome import welcome

GATEWAYS_FIRST = 4.0
"""Seconds that the gateways have to end before the other nodes are told to stop too."""

STOP_BUDGET = 8.5
"""Seconds from the signal until nodes that still run are killed; their engines end within another second."""

LEAVE_AFTER = 1.0
"""Seconds that the launcher waits for killed nodes. One that waits for a dead disk may not end by then."""

BACKOFF = Backoff(first=0.5, cap=10.0, factor=2.0, reset_after=30.0)
"""Pauses before restarts from the second failure on. The first restart is at once: requests may wait."""


def run(plan: LauncherPlan) -> None:
    """Run the nodes of a plan in the foreground, until SIGINT, SIGTERM or SIGHUP has stopped them.

    A second SIGINT or SIGTERM kills the nodes that have not stopped yet. SIGINT and SIGHUP stay ignored if
    they are ignored at the start, as in a background job of a shell or under ``nohup``.

    Raises:
        LauncherProblem: A node cannot run as it is set up, and has said why on standard error. All other
            nodes were stopped.
    """
    set_title(plan.title)
    raise_limit()
    for note in plan.notes:
        announce(note)
    try:
        anyio.run(_Launcher(plan).run, backend="asyncio", backend_options={"use_uvloop": True})
    finally:
        terminal.flush()
        plan.close()


@define(eq=False)
class _Child:
    node: PlannedNode
    process: Process | None = None
    stopping: bool = False
    silent: bool = False
    ended: anyio.Event = field(factory=anyio.Event)


class _Launcher:
    def __init__(self, plan: LauncherPlan) -> None:
        self._plan = plan
        self._children = [_Child(node) for node in plan.nodes]
        self._stop = anyio.Event()
        self._misfit = ""
        self._rng = random.Random()  # noqa: S311 - jitter

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_signals)
            for child in self._children:
                tasks.start_soon(self._keep, child)
            if os.getpid() == 1:
                tasks.start_soon(reap_orphans, self._processes)
            if self._plan.gateway_url:
                tasks.start_soon(welcome, self._plan)
            await self._stop.wait()
            # While the launcher has them too, what connects waits in vain; now it is refused at once.
            self._plan.close_sockets()
            await self._end_all()
            tasks.cancel_scope.cancel()
        if self._misfit:
            raise LauncherProblem(f"{self._misfit} cannot run as it is set up: stopped everything")
        announce("stopped")

    def _processes(self) -> list[int]:
        return [child.process.pid for child in self._children if child.process is not None]

    async def _watch_signals(self) -> None:
        stop_on_hang_up(self._begin_to_stop)
        with anyio.open_signal_receiver(*stop_signals()) as signals:
            async for _ in signals:
                if not self._stop.is_set():
                    self._begin_to_stop()
                else:
                    self._kill_all()

    def _begin_to_stop(self) -> None:
        if not self._stop.is_set():
            announce("stopping (once more to kill)")
            self._stop.set()

    async def _keep(self, child: _Child) -> None:
        """Start a node, and start it again each time it ends, until everything is to stop."""
        settings = child.node.settings
        failures = 0
        try:
            while not self._stop.is_set():
                began = anyio.current_time()
                status = await self._run_once(child)
                if self._stop.is_set():
                    break
                if status == CONFIGURATION_EXIT:
                    self._misfit = settings.name
                    self._stop.set()
                    break
                if anyio.current_time() - began >= BACKOFF.reset_after:
                    failures = 0
                failures += 1
                if not child.silent:
                    how = describe_status(status)
                    announce(f"{settings.name}: ended ({how}), starting it again (its log: {settings.log})")
                pause = BACKOFF.delay(failures - 1, self._rng) if failures > 1 else 0.0
                with anyio.move_on_after(pause):
                    await self._stop.wait()
        finally:
            child.ended.set()

    async def _run_once(self, child: _Child) -> int:
        # A node that is started again must not believe yet another head.
        settings = child.node.settings if child.process is None else believing(child.node.settings)
        child.silent = False
        if not isinstance(settings, GatewayNodeSettings):
            return await self._run_process(child, settings)
        with HealthSocket(self._plan.gateway_patience) as health:
            settings = evolve(settings, health=health.descriptor)
            return await self._run_process(child, settings, health)

    async def _run_process(
        self, child: _Child, settings: NodeSettings, health: HealthSocket | None = None
    ) -> int:
        process = child.process = await anyio.open_process(
            [sys.executable, "-m", "sllm_actors.nodes"],
            stdin=subprocess.PIPE,
            stdout=None,
            stderr=None,
            start_new_session=True,
            pass_fds=settings.inherited,
        )
        assert process.stdin is not None
        if child.stopping:
            self._signal(child, signal.SIGTERM)
        async with anyio.create_task_group() as watching:
            if health is not None:
                health.started()
                watching.start_soon(self._end_silent, child, health)
            with contextlib.suppress(anyio.BrokenResourceError):  # it died at once: its exit status says how
                await process.stdin.send(write_settings(child.node.role, settings))
            status = await process.wait()
            watching.cancel_scope.cancel()
        await process.stdin.aclose()
        return status

    async def _end_silent(self, child: _Child, health: HealthSocket) -> None:
        """Kill a process that no longer answers; while it stops, it has the time that the stop gives it."""
        seconds = await health.wait_for_silence()
        if not child.stopping:
            child.silent = True
            settings = child.node.settings
            announce(
                f"{settings.name}: has not answered for {seconds:.0f} s: killed, starting it again"
                f" (its log: {settings.log})"
            )
            self._signal(child, signal.SIGKILL)

    async def _end_all(self) -> None:
        gateways = [child for child in self._children if child.node.role == "gateway"]
        others = [child for child in self._children if child.node.role != "gateway"]
        with anyio.move_on_after(STOP_BUDGET):
            with anyio.move_on_after(GATEWAYS_FIRST):
                await self._end(gateways)
            await self._end(others)
            await self._end(gateways)
        left = [child for child in self._children if not child.ended.is_set()]
        for child in left:
            announce(f"{child.node.settings.name}: did not stop in {STOP_BUDGET:g} s: killed")
            self._signal(child, signal.SIGKILL)
        with anyio.move_on_after(LEAVE_AFTER):
            await _all_ended(left)
        for child in left:
            if not child.ended.is_set() and child.process is not None:
                announce(
                    f"{child.node.settings.name}: cannot be killed now (process {child.process.pid}): left"
                )

    async def _end(self, children: list[_Child]) -> None:
        for child in children:
            if not child.stopping:
                child.stopping = True
                self._signal(child, signal.SIGTERM)
        await _all_ended(children)

    def _kill_all(self) -> None:
        for child in self._children:
            self._signal(child, signal.SIGKILL)

    @staticmethod
    def _signal(child: _Child, number: signal.Signals) -> None:
        if child.process is not None and child.process.returncode is None:
            os.kill(child.process.pid, number)


async def _all_ended(children: list[_Child]) -> None:
    for child in children:
        await child.ended.wait()


def describe_status(status: int) -> str:
    """Return how a process ended, as ``exit code 1`` or ``signal SIGKILL``.

    Args:
        status: As ``returncode`` of ``subprocess``: negative for a signal.
    """
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
