"""The launcher: a small parent of nodes.

It starts them as siblings, starts the one that dies again, and takes all of them with it when it ends.

Each node leads a session of its own, so that ^C at the terminal reaches the launcher only, which then stops
them in the reverse of their start order, each within its budget. Each holds the read end of a pipe whose
write end only the launcher has: when the launcher itself is killed, every node sees the end and stops.
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
from attrs import define, field

from sllm_actors.actors import Backoff
from sllm_actors.observe import terminal
from sllm_actors.observe.terminal import announce

from .launcher_plan import LauncherPlan, LauncherProblem, PlannedNode
from .settings import CONFIGURATION_EXIT, write_settings
from .stop_signals import stop_signals
from .welcome import welcome

BACKOFF = Backoff(first=0.5, cap=10.0, factor=2.0, reset_after=30.0)
"""From the second failure on: the first restart is at once, for somebody may be waiting."""


def run(plan: LauncherPlan) -> None:
    """Run the nodes of a plan in the foreground until SIGINT, SIGTERM or SIGHUP.

    A second signal kills what has not stopped yet. SIGINT and SIGHUP stay ignored where they are at the start
    (a background job of a shell, ``nohup``).

    Raises:
        LauncherProblem: A node cannot run as it is set up (it has said why on stderr). All others were
            stopped.
    """
    try:
        anyio.run(_Launcher(plan).run, backend="asyncio", backend_options={"use_uvloop": True})
    finally:
        terminal.flush()
        for listener in plan.sockets:
            listener.close()


@define(eq=False)
class _Child:
    node: PlannedNode
    process: Process | None = None
    stopping: bool = False
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
            if self._plan.gateway_url:
                tasks.start_soon(welcome, self._plan)
            await self._stop.wait()
            for child in reversed(self._children):
                await self._end(child)
            tasks.cancel_scope.cancel()
        if self._misfit:
            raise LauncherProblem(f"{self._misfit} cannot run as it is set up: stopped everything")
        announce("stopped")

    async def _watch_signals(self) -> None:
        with anyio.open_signal_receiver(*stop_signals()) as signals:
            async for _ in signals:
                if self._stop.is_set():
                    self._kill_all()
                else:
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
                how = describe_status(status)
                announce(f"{settings.name}: ended ({how}), starting it again (its log: {settings.log})")
                pause = BACKOFF.delay(failures - 1, self._rng) if failures > 1 else 0.0
                with anyio.move_on_after(pause):
                    await self._stop.wait()
        finally:
            child.ended.set()

    async def _run_once(self, child: _Child) -> int:
        settings = child.node.settings
        process = child.process = await anyio.open_process(
            [sys.executable, "-m", "sllm_actors.nodes"],
            stdin=subprocess.PIPE,
            stdout=None,
            stderr=None,
            start_new_session=True,
            pass_fds=tuple(settings.listeners.values()),
        )
        assert process.stdin is not None
        if child.stopping:
            self._signal(child, signal.SIGTERM)
        with contextlib.suppress(anyio.BrokenResourceError):  # it died at once: its exit status says how
            await process.stdin.send(write_settings(child.node.role, settings))
        status = await process.wait()
        await process.stdin.aclose()
        return status

    async def _end(self, child: _Child) -> None:
        child.stopping = True
        self._signal(child, signal.SIGTERM)
        with anyio.move_on_after(child.node.stop_budget):
            await child.ended.wait()
        if not child.ended.is_set():
            announce(f"{child.node.settings.name}: did not stop in {child.node.stop_budget:g} s: killed")
            self._signal(child, signal.SIGKILL)
            await child.ended.wait()

    def _kill_all(self) -> None:
        for child in self._children:
            self._signal(child, signal.SIGKILL)

    @staticmethod
    def _signal(child: _Child, number: signal.Signals) -> None:
        if child.process is not None and child.process.returncode is None:
            os.kill(child.process.pid, number)


def describe_status(status: int) -> str:
    """Say how a process ended: ``exit code 1``, ``signal SIGKILL``."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
