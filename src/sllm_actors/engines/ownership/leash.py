"""The owner of one engine: a process of its own that outlives the worker just long enough to clean up.

Run by path as ``python -I -S leash.py CONTROL STATUS``, with the descriptors of two pipes, or forked by a
fork server that has loaded this file; ``worker_link`` tells what is said on the pipes. It has to work under
any interpreter, beside whatever is installed there: it imports nothing but the standard library and, by path,
the files beside it that say so. It leads a session of its own; the engine leads another.

As a child sub-reaper the leash inherits every descendant whose parent died, also those that left the engine's
process group by ``setsid``; it kills and reaps until the kernel says that it has no child. The engine's
process is reaped only after its process group was killed: until then the kernel gives the group's number to
no other. Further descriptors (the lock files of GPUs) are only kept open: they are closed when the leash
exits, that is, when the engine is really gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

if __package__:
    from . import engine_log, gpu_memory, procfs, worker_link
else:  # run, or loaded by a fork server: this folder is not on their sys.path, and must not be

    def _beside(name: str) -> ModuleType:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")  # noqa: PTH100, PTH118, PTH120
        spec = importlib.util.spec_from_file_location(f"sllm_{name}", path)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    engine_log, gpu_memory = _beside("engine_log"), _beside("gpu_memory")
    procfs, worker_link = _beside("procfs"), _beside("worker_link")

PR_SET_CHILD_SUBREAPER = 36
LOOK = 1.0  # seconds between two looks at the shared memory
READ = 65536  # bytes that are read at once
ENGINE_DESCRIPTORS = 65536  # the soft limit of an engine, where the hard one allows it

Start = Callable[[worker_link.LaunchRequest, int], int]
"""Starts the engine of a request in a session of its own, with its output on the given descriptor.

Returns its process number. Raises OSError when the engine cannot be started.
"""


def exec_engine(launch: worker_link.LaunchRequest, output: int) -> int:
    """Start the engine as a program. See ``Start``."""
    engine = subprocess.Popen(
        launch["argv"],
        env=launch["env"],
        cwd=launch["cwd"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    engine.returncode = 0  # it is reaped behind Popen's back
    return engine.pid


class Leash:
    """The loop: read the engine's output, notice its end, read the worker's messages.

    Args:
        control: See ``CONTROL`` in ``worker_link``.
        status: See ``STATUS`` there.
        start: How the engine is started.
    """

    def __init__(self, control: int, status: int, start: Start = exec_engine) -> None:
        self._worker = worker_link.WorkerLink(control, status)
        self._start_engine = start
        self._output = -1
        self._pid = 0
        self._has_written = False  # since the worker was last told of output
        self._woken, wakeup = os.pipe()
        for fd in (self._woken, wakeup):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._asked_to_stop = False

    def run(self) -> None:
        """Own one engine from start to end."""
        become_subreaper()
        self._worker.say(event="leash", pid=os.getpid(), began=procfs.start_time(os.getpid()))
        launch = self._worker.launch_request()
        if launch is None:
            return
        procfs.name_process("sllm-leash", f"sllm leash of {worker_link.replica_of(launch)}")
        self._memory = procfs.SharedMemory(time.time(), launch["tmpdir"])
        try:
            log = engine_log.Log(launch["log"])
        except OSError as error:
            self._worker.say(
                event="failed", error=f"the log {launch['log']} cannot be opened: {error.strerror}"
            )
            return
        try:
            self._start(launch, log)
        except OSError as error:
            self._worker.say(event="failed", error=f"{launch['argv'][0]} cannot be started: {error.strerror}")
        else:
            try:
                self._end(log, self._watch(log))
            except BaseException:  # a fault of ours must not set the engine free
                with contextlib.suppress(OSError):
                    os.killpg(self._pid, signal.SIGKILL)
                self._kill_children()
                raise
        self._clean_up(launch)
        self._worker.say(event="gone")

    def _start(self, launch: worker_link.LaunchRequest, log: engine_log.Log) -> None:
        log.write(launch["header"].encode() + b"\n")
        os.makedirs(launch["tmpdir"], mode=0o700, exist_ok=True)  # noqa: PTH103
        for name, content in launch["files"].items():
            path = f"{launch['tmpdir']}/{name}"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
                file.write(content)
        if launch["cores"]:  # what we start inherits them
            with contextlib.suppress(OSError):  # they are gone since: better on any than not at all
                os.sched_setaffinity(0, launch["cores"])
        limit_descriptors()
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._pid = self._start_engine(launch, output)
        finally:
            os.close(output)
        self._worker.say(event="started", pid=self._pid, began=procfs.start_time(self._pid))

    # ---- while it runs

    def _watch(self, log: engine_log.Log) -> float | None:
        """Return None when the engine has ended by itself, or when it is to end, the budget in seconds."""
        look_at = 0.0
        while not self._engine_ended():
            if self._asked_to_stop:
                return worker_link.ORPHANED_BUDGET
            budget = self._worker.stop_budget()
            if budget is not None:
                return budget
            if self._worker.asks_for_output and self._has_written:
                self._worker.asks_for_output = self._has_written = False
                self._worker.say(event="output")
            if time.monotonic() >= look_at:
                self._memory.look(procfs.descendants)
                look_at = time.monotonic() + LOOK
            self._wait(log, LOOK)
        return None

    def _wait(self, log: engine_log.Log, timeout: float | None) -> None:
        """Wait until something happens, and take over what the engine has written."""
        ready = readable(timeout, self._woken, self._worker.control, self._output)
        if self._woken in ready:
            os.read(self._woken, READ)
        if self._output in ready:
            self._copy_output(log)

    def _copy_output(self, log: engine_log.Log) -> bool:
        """Copy one piece of the engine's output to the log; False when there is none now."""
        if self._output < 0:
            return False
        try:
            data = os.read(self._output, READ)
        except BlockingIOError:
            return False
        if data:
            log.write(data)
            self._has_written = True
            return True
        os.close(self._output)
        self._output = -1
        return False

    def _engine_ended(self) -> bool:
        """Reap children that have ended, but leave the engine itself a zombie; return whether it is one."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid == self._pid:
                    return True
                os.waitpid(ended.si_pid, 0)
        return False

    # ---- the end

    def _end(self, log: engine_log.Log, budget: float | None) -> None:
        """End what still runs: SIGTERM, the budget, SIGKILL, and then whoever is left, until nobody is."""
        pid = self._pid
        self._memory.look(procfs.descendants)
        if budget:
            os.killpg(pid, signal.SIGTERM)
            self._wait_for_engine(log, time.monotonic() + budget)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            os.killpg(pid, signal.SIGKILL)
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        while self._copy_output(log):
            pass
        if ended is not None:
            killed = ended.si_code != os.CLD_EXITED
            self._worker.say(
                event="exited",
                code=None if killed else ended.si_status,
                signal=ended.si_status if killed else None,
            )
        os.killpg(pid, signal.SIGKILL)
        self._kill_children()
        while self._copy_output(log):
            pass

    def _wait_for_engine(self, log: engine_log.Log, deadline: float) -> None:
        while not self._engine_ended() and (left := deadline - time.monotonic()) > 0:
            budget = self._worker.stop_budget()  # the worker may have less patience now, or be gone
            if budget is not None:
                deadline = min(deadline, time.monotonic() + budget)
            else:
                self._wait(log, left)

    def _kill_children(self) -> None:
        """Kill and reap until the kernel knows no child of ours: each death may bring us its orphans."""
        pause = 0.001
        try:
            while True:
                for child in procfs.children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pause = 0.001
                if readable(pause, self._woken):
                    os.read(self._woken, READ)
                pause = min(2 * pause, 0.25)
        except ChildProcessError:
            return

    def _clean_up(self, launch: worker_link.LaunchRequest) -> None:
        if launch["socket"]:
            with contextlib.suppress(OSError):
                os.unlink(launch["socket"])  # noqa: PTH108
        self._memory.remove()
        shutil.rmtree(launch["tmpdir"], ignore_errors=True)
        gpu_memory.wait_for_memory(launch["gpu_memory"])

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._asked_to_stop = True


def readable(timeout: float | None, *fds: int) -> list[int]:
    """Wait until descriptors can be read or have ended, and return those; negative numbers are ignored.

    Args:
        timeout: Seconds, or None for no limit.
        fds: The descriptors.
    """
    poll = select.poll()  # not select(): a worker with many sockets hands out numbers over 1023
    for fd in fds:
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else max(1, round(timeout * 1000)))]


def close_others(*keep: int) -> None:
    """Close every descriptor but these and 0 to 2: some event loops leak descriptors to children."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


def limit_descriptors() -> None:
    """Lower the soft limit of open files to ``ENGINE_DESCRIPTORS`` for the engine, which inherits it.

    The worker has raised its own limit as far as it goes. A program that closes every number up to its limit
    at its start, as some do, would need minutes for that.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = ENGINE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ENGINE_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def become_subreaper() -> None:
    """Become the parent of all descendants whose own parent ends, from now on.

    Raises:
        OSError: The kernel refuses it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_CHILD_SUBREAPER")


def own(control: int, status: int, start: Start = exec_engine) -> int:
    """Own one engine from start to end; return the exit status for this process.

    A bug of the leash itself is reported as a ``failed`` event on ``status``.
    """
    try:
        Leash(control, status, start).run()
    except Exception as error:  # noqa: BLE001 - there is nobody else to tell
        with contextlib.suppress(OSError):
            os.write(status, json.dumps({"event": "failed", "error": f"leash: {error!r}"}).encode() + b"\n")
        return 1
    return 0


def main() -> None:
    """Own one engine; the command line names the descriptors."""
    control, status, *locks = map(int, sys.argv[1:])
    close_others(control, status, *locks)
    for fd in locks:
        os.set_inheritable(fd, False)
    sys.exit(own(control, status))


if __name__ == "__main__":
    main()
