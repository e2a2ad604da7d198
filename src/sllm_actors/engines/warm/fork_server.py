"""The warm fork server: a process that has imported everything, and forks engines that need not import it.

Run by path as ``python fork_server.py LINK``, under the interpreter of the engines, with one end of a unix
socket pair (``SOCK_SEQPACKET``: a message is a message, and may carry descriptors). It imports nothing of
sllm_actors but ``leash.py``, by path.

The worker says, as JSON: first ``{"modules": […], "learned": […]}``, what to import (of the first list, all;
of the second, what there is); then ``{"fork": true}`` with the descriptors of a leash's ``CONTROL``,
``STATUS`` and lock files; and ``{"learn": […]}``, names to import as well. The server answers each with one
message: ``{"event": "ready"}``, ``{"event": "forked", "leash": pid}`` with a pidfd of the leash,
``{"event": "learned"}``; ``{"event": "failed", "reason"}``; or ``{"event": "unfit", "reason"}`` before it
ends, because it must not be forked.

The fork of the server is the leash of one engine, in a session of its own, and forks the engine into another
session. It differs from a leash that was exec'd in nothing else. So the end of the server touches no engine,
and the end of the worker (end of file on ``LINK``) ends the server.

An engine is what ``python -m MODULE ARGUMENTS`` would be, in the order's environment; except that its
``multiprocessing`` forks where it was asked to spawn, so that its own processes need not import everything
either, and that it writes what it still imports to the file ``IMPORTS`` in its TMPDIR, for the worker.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib.util
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import ModuleType

    from sllm_actors.engines.ownership.leash import LaunchRequest

LONGEST = 131072
MOST_DESCRIPTORS = 64
MARKER = "SLLM_ENGINE"
IMPORTS = "late-imports"
THREADS = "OMP_NUM_THREADS"
MOST_IMPORTS = 5000


def load_leash() -> ModuleType:
    """Load ``ownership/leash.py`` by its path: our package is not on the path of an engine's interpreter."""
    engines = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    path = os.path.join(engines, "ownership", "leash.py")  # noqa: PTH118
    spec = importlib.util.spec_from_file_location("sllm_leash", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Marker:
    """The place of ``SLLM_ENGINE`` in the environment that this process was started with.

    The kernel shows that memory as ``/proc/PID/environ``, which is where a sweep looks for an engine's
    processes. A fork has it from the server, with a blank long enough, and writes its own value there.
    """

    def __init__(self) -> None:
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        self._room = len(os.environ.get(MARKER, ""))
        self._address = getenv(MARKER.encode())

    def write(self, value: str) -> None:
        """Replace it.

        Raises:
            OSError: There is no room for it.
        """
        data = value.encode()
        if self._address is None or len(data) > self._room:
            raise OSError(f"no room for {MARKER}={value}")
        ctypes.memmove(self._address, data.ljust(self._room, b"\0"), self._room)


class Server:
    """The loop: hear the worker, fork, reap."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._leash = load_leash()
        self._leash.close_others(link.fileno())
        self._marker = Marker()
        self._ours: frozenset[int] = frozenset()

    def run(self) -> int:
        """Import, then serve until the worker has gone; return the exit status."""
        setup = self._hear()[0]
        if setup is None:
            return 0
        die_with(self._link, at_once=True)
        try:
            for name in setup["modules"]:
                importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker is told
            self._say(event="failed", reason=f"{name} cannot be imported: {error!r}"[:1000])
            return 1
        if not self._ready(setup["learned"], "ready"):
            return 1
        while True:
            request, descriptors = self._hear()
            if request is None:
                return 0
            if "learn" in request:
                if not self._ready(request["learn"], "learned"):
                    return 1
            else:
                self._fork(descriptors)

    def _ready(self, names: Iterable[str], event: str) -> bool:
        """Import what there is of these, and make ready to be forked."""
        die_with(self._link, at_once=True)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an import may run programs, and wait for them
        for name in names:
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        prepare_titles()
        problem = unfit()
        if problem:
            self._say(event="unfit", reason=problem)
            return False
        gc.collect()
        gc.freeze()
        self._ours = open_descriptors() - {self._link.fileno()}
        signal.signal(signal.SIGCHLD, lambda *_: reap())
        reap()
        die_with(self._link, at_once=False)
        self._say(event=event, modules=len(sys.modules))
        return True

    def _fork(self, descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_leash(*descriptors)
        for fd in descriptors:
            os.close(fd)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # it has ended already
            self._say(event="failed", reason=str(error))
        else:
            self._say([pidfd], event="forked", leash=pid)
            os.close(pidfd)

    def _be_leash(self, control: int, status: int, *_locks: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            self._link.close()
            set_name("sllm-leash")
            code = self._leash.own(control, status, self._start_engine)
        finally:
            os._exit(code)

    def _start_engine(self, launch: LaunchRequest, output: int) -> int:
        """Fork the engine; return when it leads its session. See ``leash.Start``."""
        if launch["argv"][1:2] != ["-m"]:
            raise OSError(f"{launch['argv'][0]} was not started with -m")
        born, birth = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_engine(launch, output, birth)
        os.close(birth)
        os.read(born, 1)
        os.close(born)
        return pid

    def _be_engine(self, launch: LaunchRequest, output: int, birth: int) -> NoReturn:
        code: Any = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.setsid()
            set_name("sllm-engine")
            self._marker.write(launch["env"][MARKER])
            os.close(birth)
            for fd in (1, 2):
                os.dup2(output, fd)
            for fd in open_descriptors() - self._ours:
                with contextlib.suppress(OSError):
                    os.close(fd)
            threads = os.environ.get(THREADS)
            preload = {"LD_PRELOAD": os.environ["LD_PRELOAD"]} if "LD_PRELOAD" in os.environ else {}
            os.environ.clear()
            os.environ.update(launch["env"] | preload)  # else vLLM would want to preload what is here
            os.chdir(launch["cwd"])
            if os.environ.get(THREADS) != threads:
                set_threads(os.environ.get(THREADS, ""))
            code = run_module(launch["argv"][2], launch["argv"][3:], launch["tmpdir"])
        except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
            traceback.print_exc()
        finally:
            leave(code)

    # ---- the link

    def _hear(self) -> tuple[Any, list[int]]:
        """Wait for a message; None when the worker has gone."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._link, LONGEST, MOST_DESCRIPTORS)
            if not data:
                return None, []
            for fd in descriptors:
                os.set_inheritable(fd, False)
            return json.loads(data), descriptors

    def _say(self, descriptors: Iterable[int] = (), **event: object) -> None:
        with contextlib.suppress(OSError):  # the worker has gone: the next _hear says so
            socket.send_fds(self._link, [json.dumps(event).encode()], list(descriptors))


class LateImports:
    """Writes the name of each module that is looked for to a file; finds nothing itself."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._count = 0

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """See ``importlib.abc.MetaPathFinder``."""
        self._count += 1
        if self._count <= MOST_IMPORTS:
            self.note(name)

    def note(self, line: str) -> None:
        """Write a line."""
        with contextlib.suppress(OSError):  # closed or full: only the next start is slower for it
            os.write(self._fd, line.encode() + b"\n")


def run_module(module: str, arguments: list[str], tmpdir: str) -> Any:
    """Be ``python -m module arguments``; return what it exits with."""
    late = LateImports(os.path.join(tmpdir, IMPORTS))  # noqa: PTH118
    sys.meta_path.insert(0, late)
    fork_where_it_would_spawn(late, os.environ.get("LD_PRELOAD", ""))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    tempfile.tempdir = None  # what it remembers is the server's
    sys.argv = [module, *arguments]
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # "found in sys.modules"
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        return leaving.code
    return 0


def set_threads(count: str) -> None:
    """Have PyTorch compute with so many threads: its OpenMP has read the variable in the server.

    No thread has been at work yet, or OpenMP would not survive the fork; its size may still be changed.
    """
    torch = sys.modules.get("torch")
    if torch is not None and count.isdecimal() and int(count):
        torch.set_num_threads(int(count))


def fork_where_it_would_spawn(late: LateImports, preload: str) -> None:
    """Make ``multiprocessing.get_context`` give the context that forks, until CUDA is initialised.

    A library that was to be preloaded into what would have been spawned is noted as ``LD_PRELOAD=…``: the
    server has to be started with it.
    """
    real = multiprocessing.get_context
    forking = real("fork")

    def get_context(method: str | None = None) -> Any:
        torch = sys.modules.get("torch")
        if method not in ("spawn", "forkserver") or (torch is not None and torch.cuda.is_initialized()):
            return real(method)
        if os.environ.get("LD_PRELOAD", "") != preload:
            late.note(f"LD_PRELOAD={os.environ['LD_PRELOAD']}")
        return forking

    multiprocessing.get_context = get_context


def leave(code: Any) -> NoReturn:
    """End this process as the interpreter ends a program."""
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    with contextlib.suppress(BaseException):
        getattr(threading, "_shutdown")()  # noqa: B009 - waits for threads, as at the end of any program
        atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit((code or 0) & 0xFF)


def unfit() -> str:
    """Return why this process must not be forked, or ""."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        return f"threads run in it: {', '.join(threads)[:500]}"
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public one raises
        return "an event loop runs in it"
    for fd in open_descriptors():
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
            if target.startswith("/dev/nvidia"):
                return f"it holds {target}"
    return ""


def open_descriptors() -> frozenset[int]:
    """Return the descriptors that are open now."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # one of them was the listing itself
            os.fstat(int(name))
            found.add(int(name))
    return frozenset(found)


def set_name(name: str) -> None:
    """Set what ``ps`` and ``top`` call this process."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(name)


def prepare_titles() -> None:
    """Let setproctitle, where it was imported, find its place before a fork has an environment of its own."""
    titles = sys.modules.get("setproctitle")
    if titles is not None:
        titles.getproctitle()
        set_name("sllm-warm")


def reap() -> None:
    """Take notice of the forks that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def die_with(link: socket.socket, *, at_once: bool) -> None:
    """Let the kernel end this process when the other end of the link goes, whatever it does: by SIGIO.

    That comes for a message as well: for times only when the worker waits for an answer.
    """
    flags = fcntl.fcntl(link, fcntl.F_GETFL)
    fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link, fcntl.F_SETFL, flags | os.O_ASYNC if at_once else flags & ~os.O_ASYNC)


def main() -> None:
    """Be the server."""
    link = socket.socket(fileno=int(sys.argv[1]))
    link.set_inheritable(False)
    set_name("sllm-warm")
    sys.exit(Server(link).run())


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are none of the engine's
    main()
