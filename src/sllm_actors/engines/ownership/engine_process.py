"""The worker's hold on one engine, through its leash."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import structlog
from attrs import evolve, frozen

from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.plan import LaunchPlan

from .leases import Lease, Leases
from .leash_process import ForkFailed, LeashForker, LeashProcess, exec_leash
from .orphans import kill_orphans
from .running import RunningEngines

log = structlog.get_logger("sllm_actors.engines")

GRACE = 10.0
"""Seconds that a leash may need beyond the budget it was given, before it counts as lost."""

LONGEST_STATUS = 65536


@frozen
class Exit:
    """How an engine ended: by a code or by a signal; neither, if that was never learnt."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"signal {signal_name(self.signal)}"
        return "" if self.code is None else f"exit code {self.code}"

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        if self.signal is not None:
            return f"the engine was killed by {signal_name(self.signal)}"
        if self.code is None:
            return "the engine was lost: its leash was killed"
        return f"the engine ended by itself with exit code {self.code}"


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, and a number for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class EngineProcess:
    """One life of one engine: an async context manager, in which it runs.

    Leaving the context, also by a cancellation, ends it within the plan's ``stop_budget`` and returns when no
    process and no file of it is left; only ``hurry`` shortens that. Only what cannot be killed is given up
    after a while: it stays on record, with the locks of its GPUs, until it is gone. To be used by one task.

    Args:
        plan: What to start.
        hold: Descriptors that the leash keeps open until the engine is gone: the lock files of its GPUs.
        leases: Where it is on record as long as anything of it is left.
        forker: What forks its leash, if it can; otherwise it is started as a program.
        running: Where it is hurried with all others.

    Attributes:
        pid: Of the engine, within the context.
        leash_pid: Of the process that the engine and all that it starts descend from.

    Raises:
        LaunchProblem: From entering: the program cannot be started.
        OSError: From entering: it cannot be put on record, or its leash cannot be started.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        *,
        hold: tuple[int, ...] = (),
        leases: Leases | None = None,
        forker: LeashForker | None = None,
        running: RunningEngines | None = None,
    ) -> None:
        self.plan = plan
        self._hold = hold
        self._leases = leases
        self._forker = forker
        self._running = running
        self._patience = math.inf
        self._stopping = False
        self._lease: Lease | None = None
        self._control = -1
        self._status = -1
        self._heard = b""
        self._leash: LeashProcess
        self.leash_pid = 0
        self._leash_began = 0
        self._began = 0
        self._since = time.time()
        self._problem = ""
        self._exit: Exit | None = None
        self._gone = False
        self._stuck = False
        self.pid = 0

    async def __aenter__(self) -> Self:
        if self._running is not None:
            self._running.add(self)
        try:
            with anyio.CancelScope(shield=True):  # half a start would leave descriptors and a leash behind
                await self._record()
                await self._start_leash()
            await self._hear_until(lambda: self.leash_pid)
            await self._record(leash=self.leash_pid, leash_began=self._leash_began)
            await self._send(
                {
                    "argv": self.plan.argv,
                    "env": dict(self.plan.env),
                    "cwd": self.plan.cwd,
                    "header": self.plan.header,
                    "log": str(self.plan.paths.log),
                    "socket": str(self.plan.paths.socket),
                    "tmpdir": str(self.plan.paths.tmpdir),
                    "files": dict(self.plan.files),
                    "cores": self.plan.cores,
                    "gpu_memory": self.plan.gpu_memory,
                }
            )
            await self._hear_until(lambda: self.pid)
            await self._record(pid=self.pid, began=self._began)
        except BaseException:
            await self._close(0.0)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._close(self.plan.stop_budget)

    async def exited(self) -> Exit:
        """Wait until the engine's own process has ended. Others of its group may live for a moment."""
        while self._exit is None and not self._gone:
            if not await self._hear():
                self._exit = Exit()
        return self._exit or Exit()

    async def wait(self) -> Exit:
        """Wait until no process and no file of the engine is left."""
        while not self._gone and await self._hear():
            pass
        if not self._gone:
            self._stuck = not await kill_orphans(
                self.pid, self._began, self.plan.env[MARKER], self.plan.paths, self._since
            )
            self._gone = True
        return self._exit or Exit()

    async def stop(self, budget: float) -> Exit:
        """End the engine: SIGTERM, at most ``budget`` seconds, SIGKILL; then as ``wait``.

        If the wait is cancelled, the engine goes on ending.
        """
        budget = min(budget, self._patience)
        self._stopping = True
        if not self._gone:
            await self._send({"stop": budget})
        with anyio.move_on_after(budget + GRACE):
            return await self.wait()
        self._leash.kill()  # stuck: what it left is ours to kill, once it is heard to be gone
        return await self.wait()

    def hurry(self, budget: float) -> None:
        """Let it have at most so many seconds to end, counted from now on if it is ending already."""
        self._patience = min(self._patience, budget)
        if self._stopping and not self._gone:
            with contextlib.suppress(OSError):  # it has ended, or it never listens
                os.write(self._control, json.dumps({"stop": self._patience}).encode() + b"\n")

    async def _start_leash(self) -> None:
        if self._forker is not None:
            try:
                self._leash = await self._with_pipes(self._forker.fork)
            except ForkFailed as failure:
                log.warning("engine.not_forked", engine=self.plan.env[MARKER], reason=str(failure))
            else:
                return
        self._leash = await self._with_pipes(exec_leash)

    async def _with_pipes(
        self, start: Callable[[int, int, tuple[int, ...]], Awaitable[LeashProcess]]
    ) -> LeashProcess:
        """Start a leash on fresh pipes; one that was only half started hears the end of them, and ends."""
        control, self._control = os.pipe()
        self._status, status = os.pipe()
        try:
            os.set_blocking(self._control, False)
            os.set_blocking(self._status, False)
            return await start(control, status, self._hold)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(control)
            os.close(status)

    async def _hear_until(self, learnt: Callable[[], int]) -> None:
        while not learnt() and not self._problem:
            if not await self._hear():
                self._problem = "the engine's leash ended before the engine was started"
        if self._problem:
            raise LaunchProblem(self._problem)

    async def _close(self, budget: float) -> None:
        try:
            with anyio.CancelScope(shield=True):
                if hasattr(self, "_leash"):
                    await self.stop(budget)
                    os.close(self._control)  # the last word to a leash that has not understood any other
                    self._control = -1
                    with anyio.move_on_after(GRACE):
                        await self._leash.wait()
                    self._leash.kill()
                    await self._leash.aclose()
                self._close_pipes()
                await self._strike_off()
        finally:
            if self._running is not None:
                self._running.remove(self)

    async def _strike_off(self) -> None:
        """Take the engine off the record, unless it lives on; then nobody else is to get its GPUs."""
        if self._leases is None:
            return
        if self._stuck and self._lease is not None:
            log.error("engine.stuck", engine=self._lease.marker, pid=self.pid, gpus=self._lease.gpus)
            self._leases.keep(self._lease, [os.dup(lock) for lock in self._hold])
        else:
            await anyio.to_thread.run_sync(self._leases.remove, self.plan.env[MARKER])

    def _close_pipes(self) -> None:
        for fd in (self._control, self._status):
            if fd >= 0:
                os.close(fd)
        self._control = self._status = -1

    async def _record(self, **learnt: int) -> None:
        """Put on record what is known of the engine now."""
        if self._leases is None:
            return
        if self._lease is None:
            self._lease = Lease(
                marker=self.plan.env[MARKER],
                boot=self._leases.boot,
                since=self._since,
                socket=str(self.plan.paths.socket),
                tmpdir=str(self.plan.paths.tmpdir),
                log=str(self.plan.paths.log),
                gpus=self.plan.gpus,
            )
        self._lease = evolve(self._lease, **learnt)  # type: ignore[arg-type]
        await anyio.to_thread.run_sync(self._leases.write, self._lease)

    async def _send(self, words: dict[str, object]) -> None:
        data = json.dumps(words).encode() + b"\n"
        try:
            while data:
                try:
                    data = data[os.write(self._control, data) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._control)
        except BrokenPipeError:
            return  # it has ended: the status pipe says so, too

    async def _hear(self) -> bool:
        """Take in what the leash says next; False when it has nothing more to say, because it has ended."""
        await anyio.wait_readable(self._status)
        try:
            data = os.read(self._status, LONGEST_STATUS)
        except BlockingIOError:
            return True
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._learn(json.loads(line))
        return bool(data)

    def _learn(self, said: dict[str, object]) -> None:
        match said:
            case {"event": "leash", "pid": int(pid), "began": int(began)}:
                self.leash_pid, self._leash_began = pid, began
            case {"event": "started", "pid": int(pid), "began": int(began)}:
                self.pid, self._began = pid, began
            case {"event": "failed", "error": str(error)}:
                self._problem = error
            case {"event": "exited", "code": int() | None as code, "signal": int() | None as number}:
                self._exit = Exit(code, number)
            case {"event": "gone"}:
                self._gone = True
