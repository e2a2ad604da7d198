"""What runs in the fork of a fork server: it behaves as ``python -m MODULE ARGUMENTS`` would.

``fork_server.py`` loads this file by its path, under the interpreter of the engines. In a forked engine,
``multiprocessing`` forks where it was asked to spawn, and so does ``subprocess.run`` of a module that is
already imported: so none of the engine's processes has to import everything again. What they still import is
written to the file ``IMPORTS`` in the engine's TMPDIR, where the worker reads it.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

IMPORTS = "late-imports"
THREADS = "OMP_NUM_THREADS"
MOST_IMPORTS = 5000


class LateImports:
    """An import hook that finds no module, but writes the name of each that is imported to a file.

    Args:
        path: The file; at most ``MOST_IMPORTS`` names are written to it.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._count = 0

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """See ``importlib.abc.MetaPathFinder``."""
        self._count += 1
        if self._count <= MOST_IMPORTS:
            self.note(name)

    def note(self, line: str) -> None:
        """Write a line to the file; a failure is ignored."""
        with contextlib.suppress(OSError):  # closed or full: only the next start is slower for it
            os.write(self._fd, line.encode() + b"\n")


def run_module(module: str, arguments: list[str], tmpdir: str) -> Any:
    """Run a module as ``python -m module arguments`` would; return what it passed to ``sys.exit``, or 0."""
    late = LateImports(os.path.join(tmpdir, IMPORTS))  # noqa: PTH118
    sys.meta_path.insert(0, late)
    fork_where_it_would_spawn(late, os.environ.get("LD_PRELOAD", ""))
    fork_where_it_would_run()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()  # or all forks would draw the same numbers
    tempfile.tempdir = None  # it remembers the server's TMPDIR
    sys.argv = [module, *arguments]
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # "found in sys.modules"
    return run_program(module)


def run_program(module: str) -> Any:
    """Run a module as ``__main__``; return what it passed to ``sys.exit``, or 0."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        return leaving.code
    return 0


def set_threads(count: str) -> None:
    """Have PyTorch compute with this many threads.

    Its OpenMP read ``OMP_NUM_THREADS`` in the fork server already. The size of its pool may still be changed,
    since it has started no thread yet (with one, OpenMP would not survive the fork).

    Args:
        count: The value of ``OMP_NUM_THREADS``; ignored unless it is a number above 0.
    """
    torch = sys.modules.get("torch")
    if torch is not None and count.isdecimal() and int(count):
        torch.set_num_threads(int(count))


def fork_where_it_would_spawn(late: LateImports, preload: str) -> None:
    """Make ``multiprocessing.get_context`` return the context that forks, until CUDA is initialised.

    An ``LD_PRELOAD`` that the engine has set for its children cannot work on a fork. It is noted as
    ``LD_PRELOAD=…``, so that the next fork server is started with it.

    Args:
        late: Where it is noted.
        preload: The ``LD_PRELOAD`` that this process was started with, or "".
    """
    real = multiprocessing.get_context
    forking = real("fork")

    def get_context(method: str | None = None) -> Any:
        if method not in ("spawn", "forkserver") or cuda_is_initialized():
            return real(method)
        if os.environ.get("LD_PRELOAD", "") != preload:
            late.note(f"LD_PRELOAD={os.environ['LD_PRELOAD']}")
        return forking

    multiprocessing.get_context = get_context


def fork_where_it_would_run() -> None:
    """Make ``subprocess.run`` fork where it is called for ``python -m MODULE`` with all output captured.

    vLLM starts such a process to inspect the class of a model that it meets for the first time. See
    ``may_be_forked`` for the conditions.
    """
    real = subprocess.run

    def run(command: Any, *more: Any, **options: Any) -> Any:
        if more or not may_be_forked(command, options):
            return real(command, *more, **options)
        return run_forked(command, options.get("input") or b"")

    setattr(subprocess, "run", run)  # noqa: B010 - of another type


def may_be_forked(command: Any, options: Mapping[str, Any]) -> bool:
    """Return whether a fork can stand in for ``subprocess.run(command, **options)``.

    That is so only for ``[sys.executable, "-m", MODULE]`` without options but ``input`` (bytes) and
    ``capture_output``, for a module that is imported already, while no other thread runs and CUDA is not
    initialised.
    """
    return (
        isinstance(command, list)
        and len(command) == 3
        and command[:2] == [sys.executable, "-m"]
        and command[2] in sys.modules
        and options.keys() <= {"input", "capture_output"}
        and options.get("capture_output") is True
        and isinstance(options.get("input"), bytes | None)
        and threading.active_count() == 1
        and not cuda_is_initialized()
    )


def run_forked(command: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Do what ``subprocess.run(command, input=data, capture_output=True)`` does, in a fork."""
    temporary = tempfile.TemporaryFile
    with temporary() as given, temporary() as said, temporary() as wrong:
        given.write(data)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            be_program(command[2], (given.fileno(), said.fileno(), wrong.fileno()))
        try:
            status = os.waitpid(pid, 0)[1]
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        said.seek(0)
        wrong.seek(0)
        return subprocess.CompletedProcess(
            command, os.waitstatus_to_exitcode(status), said.read(), wrong.read()
        )


def be_program(module: str, streams: Sequence[int]) -> NoReturn:
    """Run a module as ``python -m module`` would, in a fork; never return.

    Args:
        streams: Descriptors for its standard input, output and error, in this order.
    """
    code: Any = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor, stream in enumerate(streams):
            os.dup2(stream, descriptor)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        atexit._clear()  # noqa: SLF001 - what is registered is the engine's
        sys.argv = [module]
        code = run_program(module)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
        traceback.print_exc()
    finally:
        leave(code)


def cuda_is_initialized() -> bool:
    """Return whether CUDA is in use here: then this process must not be forked any more."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def leave(code: Any) -> NoReturn:
    """End this process as the interpreter ends a program: wait for threads, run exit functions, flush.

    Args:
        code: What the program passed to ``sys.exit``.
    """
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
