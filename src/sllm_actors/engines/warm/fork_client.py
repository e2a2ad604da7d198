"""The worker's side of one fork server: start it, have it fork leashes and import further modules."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import Process
from attrs import field, frozen

from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.ownership.leash_process import ForkedLeash, ForkFailed
from sllm_actors.engines.plan import LaunchPlan

from .known_imports import NOTHING, KnownImports

PROGRAM = Path(__file__).with_name("fork_server.py")
LONGEST_ANSWER = 65536
MOST_TAUGHT = 65536
"""Bytes of module names in one message."""

LESSON = 50
"""The most modules in one ``learn`` message: a fork waits for no more than these."""

BLANK = "-" * 32
"""The placeholder that each fork overwrites with its engine's marker: see ``fork_server.Marker``."""

IMPORT_TIMEOUT = 300.0
"""Seconds that the server may take to answer a message with modules to import; then it is killed."""

FORK_TIMEOUT = 10.0
"""Seconds that a fork may take, the wait for an import that is under way included."""


class Unfit(ForkFailed):
    """The server has imported something with which it must not be forked: a thread runs, or a GPU is open."""


@frozen
class ForkServerSpec:
    """What a fork server is for: engines of one backend, under one interpreter, in one environment.

    Attributes:
        backend: The backend of the engines.
        python: The path of the interpreter.
        modules: Modules that must be imported.
        expected: Modules that engines most likely import beyond those; one that is missing is left out.
        env: The environment of an engine, but for the variables in ``late``.
        late: Names of variables that may differ from engine to engine: no import reads them.
        engine: Package, version and interpreter; modules learned from another engine are not used.
        known: What engines of this version are known to import late.
    """

    backend: str
    python: str
    modules: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    expected: tuple[str, ...] = ()
    late: frozenset[str] = frozenset()
    engine: str = ""
    known: KnownImports = NOTHING

    def fits(self, plan: LaunchPlan) -> bool:
        """Return whether a fork of this server is as good as starting the plan's program.

        The plan has to start a module under the same interpreter, with the same environment but for ``late``.
        """
        if plan.argv[:2] != (self.python, "-m"):
            return False
        late = self.late | {MARKER, "TMPDIR"}
        names = (plan.env.keys() | self.env.keys()) - late
        return all(plan.env.get(name) == self.env.get(name) for name in names)


class ForkServer:
    """A fork server that runs. Made by ``open_fork_server``; several tasks may use it.

    Attributes:
        pid: Its process.
        modules: How many modules it has imported.
    """

    def __init__(
        self, process: Process, link: socket.socket, imported: Callable[[int], None] | None = None
    ) -> None:
        self._process = process
        self._link = link
        self._imported = imported
        self._turn = anyio.Lock()
        self._problem = ""
        self.pid = process.pid
        self.modules = 0

    async def fork(self, control: int, status: int, hold: tuple[int, ...]) -> ForkedLeash:
        """Have a leash forked. See ``leash_process.exec_leash``.

        Raises:
            ForkFailed: No leash was forked within ``FORK_TIMEOUT``. One that is forked later all the same
                ends when it finds its pipes closed.
        """
        with anyio.move_on_after(FORK_TIMEOUT):
            async with self._turn:
                answer, descriptors = await self._ask({"fork": True}, FORK_TIMEOUT, (control, status, *hold))
                if not descriptors:
                    raise ForkFailed(str(answer.get("reason", "the fork ended at once")))
                return ForkedLeash(descriptors[0])
        raise ForkFailed("the fork server is still importing modules")

    async def learn(self, names: Sequence[str]) -> None:
        """Have further modules imported; those that cannot be imported are left out.

        A fork may come in between after every ``LESSON`` modules.

        Raises:
            Unfit: With these modules the server cannot be forked; it has ended.
            ForkFailed: The server has ended for another reason.
        """
        for some in _portions(names, LESSON):
            async with self._turn:
                await self._teach({"learn": some})

    async def ended(self) -> str:
        """Wait until the server's process has ended; return why, in a few words."""
        code = await self._process.wait()
        return self._problem or f"it ended with {code}"

    async def _teach(self, lesson: dict[str, object]) -> None:
        answer, _ = await self._ask(lesson, IMPORT_TIMEOUT)
        if answer.get("event") == "unfit":
            self._problem = str(answer["reason"])
            raise Unfit(self._problem)
        if answer.get("event") == "failed":
            raise ForkFailed(str(answer["reason"]))
        self.modules = int(answer["modules"])

    async def _ask(
        self, words: dict[str, object], timeout: float, descriptors: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """Send a message, return the answer. Shielded: a cancelled one would leave its answer to the next."""
        try:
            socket.send_fds(self._link, [json.dumps(words).encode()], list(descriptors))
            with anyio.move_on_after(timeout, shield=True):
                while True:
                    await anyio.wait_readable(self._link)
                    with suppress(BlockingIOError):
                        data, received, _, _ = socket.recv_fds(self._link, LONGEST_ANSWER, 1)
                        if not data:
                            break
                        for fd in received:
                            os.set_inheritable(fd, False)
                        answer = json.loads(data)
                        if answer["event"] != "importing":
                            return answer, received
                        if self._imported is not None:
                            self._imported(int(answer["modules"]))
                raise ForkFailed("the fork server has gone")
        except OSError as error:
            raise ForkFailed(f"the fork server has gone ({error.strerror})") from None
        self._problem = f"it did not answer within {timeout:g} s"
        self._process.kill()
        raise ForkFailed(self._problem)


@asynccontextmanager
async def open_fork_server(
    spec: ForkServerSpec,
    log_file: Path,
    *,
    learned: Sequence[str] = (),
    preload: str = "",
    imported: Callable[[int], None] | None = None,
) -> AsyncIterator[ForkServer]:
    """Run a fork server: entering waits until it has imported everything, leaving kills it.

    The engines that were forked from it go on.

    Args:
        spec: What to import, under which interpreter, in which environment.
        log_file: Gets what the server prints; emptied at each start.
        learned: Modules to import beyond the specification; those that cannot be imported are left out.
        preload: The value of ``LD_PRELOAD``, in place of the environment's; "" changes nothing.
        imported: Called about once a second with the number of modules, while the server imports.

    Raises:
        Unfit: From entering: with what the server imported it cannot be forked.
        ForkFailed: From entering: the server cannot be started, or cannot import one of ``spec.modules``.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    env = dict(spec.env) | {MARKER: BLANK} | ({"LD_PRELOAD": preload} if preload else {})
    held, lifeline = socket.socketpair()
    with ours, held:
        with theirs, lifeline:
            process = await _start(spec.python, (theirs.fileno(), lifeline.fileno()), env, log_file)
        try:
            server = ForkServer(process, ours, imported)
            first, *more = _portions([*spec.expected, *learned]) or [[]]
            await server._teach({"modules": spec.modules, "learned": first})  # noqa: SLF001
            for some in more:
                await server._teach({"learn": some})  # noqa: SLF001
            yield server
        finally:
            with anyio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()  # it has nothing to save
                await process.wait()
                await process.aclose()


async def _start(
    python: str, descriptors: tuple[int, int], env: Mapping[str, str], log_file: Path
) -> Process:
    def open_log() -> int:
        return os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    try:
        output = await anyio.to_thread.run_sync(open_log)
        try:
            with anyio.CancelScope(shield=True):  # cancelled in its midst, a start would leave it behind
                process = await anyio.open_process(
                    [python, str(PROGRAM), *map(str, descriptors)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    cwd="/",
                    start_new_session=True,
                    pass_fds=descriptors,
                )
        finally:
            os.close(output)
    except OSError as error:
        raise ForkFailed(f"{python} cannot be started: {error.strerror or error}") from None
    return process


def _portions(names: Sequence[str], most: int = sys.maxsize) -> list[list[str]]:
    """Divide names over messages of at most ``MOST_TAUGHT`` bytes, and of at most ``most`` names."""
    portions: list[list[str]] = []
    room = 0
    for name in names:
        if len(name) > room or len(portions[-1]) == most:
            portions.append([])
            room = MOST_TAUGHT
        portions[-1].append(name)
        room -= len(name) + 4
    return portions
