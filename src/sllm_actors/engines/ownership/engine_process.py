"""Starting, watching and ending one engine from the worker, through its leash."""

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

LONGEST_STATUS = 65536  # bytes of status lines that are read at once


@frozen
class Exit:
    """How an engine ended: with an exit code or by a signal; neither is set if that was never learnt."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"signal {signal_name(self.signal)}"
        return "" if self.code is None else f"exit code {self.code}"

    @property
    def sentence(self) -> str:
        """How the engine ended, as a sentence for a person."""
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
    """One engine life: an async context manager, inside which the engine runs.

    Leaving the context, also by a cancellation, ends the engine: SIGTERM, the plan's ``stop_budget``
    (``hurry`` shortens it), SIGKILL. It returns when no process and no file of the engine is left. Only
    processes that cannot be killed are given up, after about ten seconds: the engine's record stays then, and
    the locks of its GPUs, until they are gone. To be used by one task.

    Args:
        plan: What to start.
        hold: Descriptors that the leash keeps open until the engine is gone: the lock files of its GPUs.
        leases: Gets a record of the engine, as long as anything of it is left.
        forker: The fork server that the leash is forked from; without one, or if that fails, the leash is
            started as a program.
        running: The set of engines that can be hurried together; the engine is in it inside the context.

    Attributes:
        pid: The engine's process number, inside the context.
        leash_pid: The process number of the leash, from which all the engine's processes descend.

    Raises:
        LaunchProblem: From entering: the program cannot be started.
        OSError: From entering: the record cannot be written, or the leash cannot be started.
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
        self._output = anyio.Event()
        self._asked_for_output = False
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
        """Wait until the engine's own process has ended. Its children may live a moment longer."""
        while self._exit is None and not self._gone:
            if not await self._hear():
                self._exit = Exit()
        return self._exit or Exit()

    async def output(self) -> None:
        """Wait until the engine has written anything since this method last returned.

        It hears of that while another task is in ``exited``. A cancellation loses nothing.
        """
        if not self._asked_for_output:
            self._asked_for_output = True
            await self._send({"tell": "output"})
        await self._output.wait()
        self._output = anyio.Event()
        self._asked_for_output = False

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
        """End the engine: SIGTERM, at most ``budget`` seconds, SIGKILL; then wait as ``wait`` does.

        A cancellation ends only the wait: the engine is ended all the same.
        """
        budget = min(budget, self._patience)
        self._stopping = True
        if not self._gone:
            await self._send({"stop": budget})
        with anyio.move_on_after(budget + GRACE):
            return await self.wait()
        self._leash.kill()  # it is stuck: ``wait`` then kills what it left
        return await self.wait()

    def hurry(self, budget: float) -> None:
        """Give the engine at most ``budget`` seconds to end, counted from now if it is ending already."""
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
        """Start a leash on new pipes; one that was only half started reads end of file there, and ends."""
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
                    os.close(self._control)  # also a leash that has read no message ends at end of file
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
        """Remove the engine's record; if it could not be killed, keep that and the locks of its GPUs."""
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
        """Write the engine's record, with what is known of its processes now."""
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
        """Wait for the leash's next events and apply them; False when the leash has ended."""
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
            case {"event": "output"}:
                self._output.set()
            case {"event": "exited", "code": int() | None as code, "signal": int() | None as number}:
                self._exit = Exit(code, number)
            case {"event": "gone"}:
                self._gone = True
