"""The owner of one engine: a process of its own that outlives the worker just long enough to clean up.

Run by path as ``python -I -S leash.py CONTROL STATUS``, with two descriptors, or forked by a fork server that
has loaded this file. It has to work under any interpreter, beside whatever is installed there: it imports
nothing but the standard library and, by path, ``procfs.py``. It leads a session of its own; the engine leads
another.

``CONTROL`` (read end): the first JSON line is a ``LaunchRequest``; a later ``{"stop": seconds}`` asks to end
the engine, with so many seconds between SIGTERM and SIGKILL; ``{"tell": "output"}`` asks to be told once of
output; end of file means that the worker is gone.

``STATUS`` (write end), JSON lines: ``{"event": "leash", "pid", "began"}`` about itself, ``{"event":
"started", "pid", "began"}``, ``{"event": "failed", "error"}``, ``{"event": "output"}`` when that was asked
for and the engine has written since the worker was last told, ``{"event": "exited", "code", "signal"}`` as
soon as the engine itself has ended and its last output is in the log, and ``{"event": "gone"}`` when no
process and no file of it is left.

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
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypedDict

if __package__:
    from . import procfs
else:  # run, or loaded by a fork server: this folder is not on their sys.path, and must not be
    _path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "procfs.py")  # noqa: PTH100, PTH118, PTH120
    _spec = importlib.util.spec_from_file_location("sllm_procfs", _path)
    assert _spec is not None and _spec.loader is not None  # noqa: PT018
    procfs = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(procfs)

PR_SET_CHILD_SUBREAPER = 36
# Seconds between SIGTERM and SIGKILL when the worker is gone: all has to be over within three.
ORPHANED_BUDGET = 1.0
LOOK = 1.0  # seconds between two looks at the shared memory
SEGMENT = 4 * 1024 * 1024  # bytes of one file of the log
SEGMENTS = 4  # files of the log that are kept
READ = 65536  # bytes that are read at once
ENGINE_DESCRIPTORS = 65536  # the soft limit of an engine, where the hard one allows it

MEMORY_BUDGET = 20.0  # seconds for the memory of GPUs to be given back
MEMORY_PAUSE = 0.2  # seconds between two looks at it
MEMORY_NOISE = 16  # MiB: less is no change


class LaunchRequest(TypedDict):
    """The first line on ``CONTROL``.

    Attributes:
        argv: The engine's program and arguments.
        env: Its whole environment.
        cwd: Its working directory.
        header: The line that begins this engine life in the log; its last word is the replica's key.
        log: The folder of the log.
        socket: The engine's socket, removed at the end; "" for none.
        tmpdir: Made before the engine starts, and removed at the end.
        files: Contents by name of files that are written into ``tmpdir`` before the engine starts.
        cores: The CPU cores that the engine runs on; empty for all that the leash may use.
        gpu_memory: A program that prints how many MiB of each GPU are in use; empty for no GPU.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    header: str
    log: str
    socket: str
    tmpdir: str
    files: dict[str, str]
    cores: list[int]
    gpu_memory: list[str]


Start = Callable[[LaunchRequest, int], int]
"""Starts the engine of a request in a session of its own, with its output on the given descriptor.

Returns its process number. Raises OSError when the engine cannot be started.
"""


def replica_of(launch: LaunchRequest) -> str:
    """Return the key of the engine's replica: the last word of the request's header."""
    return launch["header"].rpartition(" ")[2]


def exec_engine(launch: LaunchRequest, output: int) -> int:
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


class Log:
    """The log of one replica: a folder of files, each named by the byte position in the log where it begins.

    So a position in the log stays valid when old files are removed. A file has about ``SEGMENT`` bytes, and
    ``SEGMENTS`` files are kept. Output that cannot be written (disk full) is dropped: an engine must never
    block on its output.

    Args:
        folder: Made if need be.

    Raises:
        OSError: The folder or a file in it cannot be made.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - kept free of pathlib, for a fast start
        self._folder = folder
        starts = self._starts()
        self._begin = starts[-1] if starts else 0
        self._fd = self._open(self._begin)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append; if the present file is full, begin a new one and remove the oldest."""
        try:
            if self._size >= SEGMENT:
                self._rotate()
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]
        except OSError:
            return

    def _rotate(self) -> None:
        fresh = self._open(self._begin + self._size)  # may fail (disk full): then the old one goes on
        os.close(self._fd)
        self._fd = fresh
        self._begin += self._size
        self._size = os.fstat(fresh).st_size
        for start in self._starts()[:-SEGMENTS]:
            os.unlink(self._path(start))  # noqa: PTH108

    def _open(self, begin: int) -> int:
        return os.open(self._path(begin), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _starts(self) -> list[int]:
        names = os.listdir(self._folder)  # noqa: PTH208
        return sorted(int(name[:-4]) for name in names if re.fullmatch(r"\d{20}\.log", name))

    def _path(self, start: int) -> str:
        return f"{self._folder}/{start:020}.log"


class Leash:
    """The loop: read the engine's output, notice its end, read the worker's messages.

    Args:
        control: See ``CONTROL`` above.
        status: See ``STATUS`` above.
        start: How the engine is started.
    """

    def __init__(self, control: int, status: int, start: Start = exec_engine) -> None:
        self._control = control
        self._status = status
        self._start_engine = start
        self._heard = b""
        self._output = -1
        self._pid = 0
        self._has_written = False  # since the worker was last told of output
        self._tells_output = False
        self._woken, wakeup = os.pipe()
        for fd in (control, status, self._woken, wakeup):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._asked_to_stop = False

    def run(self) -> None:
        """Own one engine from start to end."""
        become_subreaper()
        self._say(event="leash", pid=os.getpid(), began=procfs.start_time(os.getpid()))
        launch = self._hear_launch()
        if launch is None:
            return
        procfs.name_process("sllm-leash", f"sllm leash of {replica_of(launch)}")
        self._memory = procfs.SharedMemory(time.time(), launch["tmpdir"])
        try:
            log = Log(launch["log"])
        except OSError as error:
            self._say(event="failed", error=f"the log {launch['log']} cannot be opened: {error.strerror}")
            return
        try:
            self._start(launch, log)
        except OSError as error:
            self._say(event="failed", error=f"{launch['argv'][0]} cannot be started: {error.strerror}")
        else:
            try:
                self._end(log, self._watch(log))
            except BaseException:  # a fault of ours must not set the engine free
                with contextlib.suppress(OSError):
                    os.killpg(self._pid, signal.SIGKILL)
                self._kill_children()
                raise
        self._clean_up(launch)
        self._say(event="gone")

    def _start(self, launch: LaunchRequest, log: Log) -> None:
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
        self._say(event="started", pid=self._pid, began=procfs.start_time(self._pid))

    # ---- while it runs

    def _watch(self, log: Log) -> float | None:
        """Return None when the engine has ended by itself, or when it is to end, the budget in seconds."""
        look_at = 0.0
        while not self._engine_ended():
            if self._asked_to_stop:
                return ORPHANED_BUDGET
            budget = self._hear_stop()
            if budget is not None:
                return budget
            if self._tells_output and self._has_written:
                self._tells_output = self._has_written = False
                self._say(event="output")
            if time.monotonic() >= look_at:
                self._memory.look(procfs.descendants)
                look_at = time.monotonic() + LOOK
            self._wait(log, LOOK)
        return None

    def _wait(self, log: Log, timeout: float | None) -> None:
        """Wait until something happens, and take over what the engine has written."""
        ready = readable(timeout, self._woken, self._control, self._output)
        if self._woken in ready:
            os.read(self._woken, READ)
        if self._output in ready:
            self._copy_output(log)

    def _copy_output(self, log: Log) -> bool:
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

    def _end(self, log: Log, budget: float | None) -> None:
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
            self._say(
                event="exited",
                code=None if killed else ended.si_status,
                signal=ended.si_status if killed else None,
            )
        os.killpg(pid, signal.SIGKILL)
        self._kill_children()
        while self._copy_output(log):
            pass

    def _wait_for_engine(self, log: Log, deadline: float) -> None:
        while not self._engine_ended() and (left := deadline - time.monotonic()) > 0:
            budget = self._hear_stop()  # the worker may have less patience now, or be gone
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

    def _clean_up(self, launch: LaunchRequest) -> None:
        if launch["socket"]:
            with contextlib.suppress(OSError):
                os.unlink(launch["socket"])  # noqa: PTH108
        self._memory.remove()
        shutil.rmtree(launch["tmpdir"], ignore_errors=True)
        wait_for_memory(launch["gpu_memory"])

    # ---- the worker

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._asked_to_stop = True

    def _hear_launch(self) -> LaunchRequest | None:
        while b"\n" not in self._heard:
            readable(None, self._control)
            data = os.read(self._control, READ)
            if not data:
                return None
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        launch: LaunchRequest = json.loads(line)
        return launch

    def _hear_stop(self) -> float | None:
        """Return the budget of a stop that was asked for, or None. The worker's end asks for one, too."""
        budget: float | None = None
        if self._control >= 0:
            try:
                data = os.read(self._control, READ)
            except BlockingIOError:
                data = None
            if data == b"":
                os.close(self._control)
                self._control = -1
                budget = ORPHANED_BUDGET
            self._heard += data or b""
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            said = json.loads(line)
            if "stop" in said:
                asked = float(said["stop"])
                budget = asked if budget is None else min(budget, asked)
            else:
                self._tells_output = True
        return budget

    def _say(self, **event: object) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(self._status, json.dumps(event).encode() + b"\n")


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


def wait_for_memory(program: list[str]) -> None:
    """Wait until the driver has taken back the GPU memory of ended processes: until its use no longer falls.

    Gives up after ``MEMORY_BUDGET`` seconds, or when the program fails.

    Args:
        program: Prints how many MiB of each GPU are in use; empty: nothing is waited for.
    """
    deadline = time.monotonic() + MEMORY_BUDGET
    before: list[int] = []
    while program and time.monotonic() < deadline:
        try:
            said = subprocess.run(program, capture_output=True, timeout=MEMORY_BUDGET, check=True).stdout
            now = [int(figure) for figure in said.split()]
        except (OSError, ValueError, subprocess.SubprocessError):
            return
        if before and all(new >= old - MEMORY_NOISE for new, old in zip(now, before, strict=False)):
            return
        before = now
        time.sleep(MEMORY_PAUSE)


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
