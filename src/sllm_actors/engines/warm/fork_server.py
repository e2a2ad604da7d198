"""The fork server: a process that has imported an engine's modules; engines are forked from it.

Run by path as ``python fork_server.py LINK LIFELINE``, under the interpreter of the engines. ``LINK`` is one
end of a unix socket pair (``SOCK_SEQPACKET``: a message is a message, and may carry descriptors);
``LIFELINE`` is one end of another pair, whose other end the worker alone holds. It imports nothing of
sllm_actors but ``leash.py`` (which loads a few files beside it) and ``forked_engine.py``, by path.

The worker sends JSON messages. The first is ``{"modules": […], "learned": […]}``: modules to import; one of
the first list that cannot be imported is a failure, one of the second is left out. Then come ``{"fork":
true}``, with the descriptors of a leash's ``CONTROL``, ``STATUS`` and lock files, and ``{"learn": […]}``,
further modules to import as far as possible. The server answers each with one message: ``{"event": "ready",
"modules"}`` (before it, about once a second, ``{"event": "importing", "modules": count}``); ``{"event":
"forked", "leash": pid}`` with a pidfd of the leash; ``{"event": "learned", "modules"}``; ``{"event":
"failed", "reason"}``; or ``{"event": "unfit", "reason"}`` when an import made it impossible to fork (a thread
runs, a GPU is open), after which the server ends.

What is forked is the leash of one engine, in a session of its own; the leash then forks the engine into
another session. Otherwise it is a leash like one that was exec'd. So the end of the server touches no engine,
and the end of the worker (end of file on ``LIFELINE``) ends the server, even while it imports.

A server with no modules at all is a *leash server*: the leashes that it forks start their engines as
programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import ModuleType

    from sllm_actors.engines.ownership.worker_link import LaunchRequest

LONGEST = 131072  # bytes of a message from the worker
MOST_DESCRIPTORS = 64  # that come with one
MARKER = "SLLM_ENGINE"

TELL = 1.0
"""Seconds between two ``importing`` messages."""

MOST_TOLD = 100
"""The most ``importing`` messages: so many fit into the link's buffer even if the worker reads none."""


def load_part(*names: str) -> ModuleType:
    """Load a file of ``engines`` by its path: our package is not on the path of an engine's interpreter."""
    engines = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    path = os.path.join(engines, *names)  # noqa: PTH118
    spec = importlib.util.spec_from_file_location(f"sllm_{names[-1].removesuffix('.py')}", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Marker:
    """The memory that holds ``SLLM_ENGINE`` in the environment that this process was started with.

    The kernel shows that memory as ``/proc/PID/environ``, where a sweep looks for an engine's processes. A
    change of ``os.environ`` would not show there. So the server is started with a placeholder of sufficient
    length, and each fork overwrites it with its own value.
    """

    def __init__(self) -> None:
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        self._room = len(os.environ.get(MARKER, ""))
        self._address = getenv(MARKER.encode())

    def write(self, value: str) -> None:
        """Replace the value.

        Raises:
            OSError: It is longer than the placeholder.
        """
        data = value.encode()
        if self._address is None or len(data) > self._room:
            raise OSError(f"no room for {MARKER}={value}")
        ctypes.memmove(self._address, data.ljust(self._room, b"\0"), self._room)


class Server:
    """The loop of the fork server: read the worker's messages, import, fork, reap.

    Args:
        link: This process's end of the socket pair for messages.
        lifeline: This process's end of the one that the worker holds as long as it lives.
    """

    def __init__(self, link: socket.socket, lifeline: socket.socket) -> None:
        self._link = link
        self._lifeline = lifeline
        self._leash = load_part("ownership", "leash.py")
        self._name = self._leash.procfs.name_process
        self._engine = load_part("warm", "forked_engine.py")
        self._leash.close_others(link.fileno(), lifeline.fileno())
        self._marker = Marker()
        self._ours: frozenset[int] = frozenset()
        self._leashes_only = False

    def run(self) -> int:
        """Import, then serve until the worker has gone; return the exit status."""
        die_with(self._lifeline)
        setup = self._hear()[0]
        if setup is None:
            return 0
        self._leashes_only = not setup["modules"]
        gc.disable()  # imports make no garbage to speak of: looking for it takes a fifth of their time
        progress = ImportProgress(lambda modules: self._say(event="importing", modules=modules))
        sys.meta_path.insert(0, progress)
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
        """Import those of these modules that can be, and prepare for forks; False if none are possible."""
        gc.disable()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an import may run programs, and wait for them
        for name in names:
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, ImportProgress)]
        prepare_titles()
        if self._leashes_only:
            self._name("sllm-leashes", "sllm leash server")
        else:
            self._name("sllm-forkserver", "sllm fork server")
        problem = unfit()
        if problem:
            self._say(event="unfit", reason=problem)
            return False
        gc.enable()
        gc.collect()
        gc.freeze()
        self._ours = open_descriptors() - {self._link.fileno(), self._lifeline.fileno()}
        signal.signal(signal.SIGCHLD, lambda *_: reap())
        reap()
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
            self._lifeline.close()
            start = self._leash.exec_engine if self._leashes_only else self._start_engine
            code = self._leash.own(control, status, start)
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
            self._name("sllm-engine", f"sllm engine of {self._leash.worker_link.replica_of(launch)}")
            self._marker.write(launch["env"][MARKER])
            os.close(birth)
            for fd in (1, 2):
                os.dup2(output, fd)
            for fd in open_descriptors() - self._ours:
                with contextlib.suppress(OSError):
                    os.close(fd)
            variable = self._engine.THREADS
            threads = os.environ.get(variable)
            preload = {"LD_PRELOAD": os.environ["LD_PRELOAD"]} if "LD_PRELOAD" in os.environ else {}
            os.environ.clear()
            os.environ.update(launch["env"] | preload)  # else vLLM would want to preload what is here
            os.chdir(launch["cwd"])
            if os.environ.get(variable) != threads:
                self._engine.set_threads(os.environ.get(variable, ""))
            code = self._engine.run_module(launch["argv"][2], launch["argv"][3:], launch["tmpdir"])
        except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
            traceback.print_exc()
        finally:
            self._engine.leave(code)
            os._exit(1)  # not reached: it ends the process

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


class ImportProgress:
    """An import hook that finds no module, but tells the worker every ``TELL`` seconds how many there are.

    It sends at most ``MOST_TOLD`` messages, for a worker that reads none: the imports would stand still while
    a message had to wait for room on the link.

    Args:
        say: Sends a count of modules to the worker.
    """

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say = say
        self._next = time.monotonic()
        self._left = MOST_TOLD

    def find_spec(self, _name: str, _path: object = None, _target: object = None) -> None:
        """See ``importlib.abc.MetaPathFinder``."""
        now = time.monotonic()
        if now >= self._next and self._left:
            self._next = now + TELL
            self._left -= 1
            self._say(len(sys.modules))


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
    """Return the numbers of the descriptors that are open now."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # one of them was the listing itself
            os.fstat(int(name))
            found.add(int(name))
    return frozenset(found)


def prepare_titles() -> None:
    """Let setproctitle, if it is installed, find the memory of our arguments before a title overwrites it."""
    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle").getproctitle()


def reap() -> None:
    """Reap the forks that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def die_with(lifeline: socket.socket) -> None:
    """Have the kernel end this process by SIGIO when the worker closes its end of the lifeline.

    While modules are imported, this process does not read the link and would not notice that it was closed.
    SIGIO must not be asked for on the link: it comes for each message, now and then after that was read.
    """
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def main() -> None:
    """Run the fork server on the descriptors that the command line names."""
    link, lifeline = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    link.set_inheritable(False)
    lifeline.set_inheritable(False)
    sys.exit(Server(link, lifeline).run())


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are none of the engine's
    main()
