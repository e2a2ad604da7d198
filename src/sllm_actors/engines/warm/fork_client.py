"""The worker's side of one fork server: start it, have it fork, teach it."""

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
"""Modules after which a fork may come in between, while a server learns."""

BLANK = "-" * 32
"""What the marker of an engine is written over."""

IMPORT_TIMEOUT = 300.0
FORK_TIMEOUT = 10.0


class Unfit(ForkFailed):
    """The server has imported something with which it must not be forked."""


@frozen
class ForkServerSpec:
    """What a fork server is for: engines of one backend, under one interpreter, in one environment.

    Attributes:
        backend: Whose engines.
        python: The interpreter.
        modules: What has to be imported.
        expected: What engines most likely import beyond that; what is not there is left out.
        env: The environment, as an engine would have it but for ``late``.
        late: Variables that may differ from engine to engine: nothing reads them while it is imported.
        engine: Its package, version and interpreter: what was learned of another one is of no use.
        known: What is known of this version before any engine has run here.
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
        """Return whether a fork is the same as the program that a plan would start."""
        if plan.argv[:2] != (self.python, "-m"):
            return False
        late = self.late | {MARKER, "TMPDIR"}
        names = (plan.env.keys() | self.env.keys()) - late
        return all(plan.env.get(name) == self.env.get(name) for name in names)


class ForkServer:
    """A fork server that has imported everything. Made by ``open_fork_server``; any task may use it."""

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
            ForkFailed: None was. A leash that comes to be all the same ends when it finds its pipes closed.
        """
        with anyio.move_on_after(FORK_TIMEOUT):
            async with self._turn:
                answer, descriptors = await self._ask({"fork": True}, FORK_TIMEOUT, (control, status, *hold))
                if not descriptors:
                    raise ForkFailed(str(answer.get("reason", "the fork ended at once")))
                return ForkedLeash(descriptors[0])
        raise ForkFailed("the fork server is still importing modules")

    async def learn(self, names: Sequence[str]) -> None:
        """Have further modules imported; those that cannot be are left out.

        Forks come in between, after ``LESSON`` modules each.

        Raises:
            Unfit: They made it so, and it has ended.
            ForkFailed: It has ended otherwise.
        """
        for some in _portions(names, LESSON):
            async with self._turn:
                await self._teach({"learn": some})

    async def ended(self) -> str:
        """Wait until the server has ended; return why, in a few words."""
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
        """Say something, and hear the answer: not to be cancelled, or the next would hear it for its own."""
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
    """Run a fork server; entering waits until it has imported everything, leaving ends it.

    The engines that it forked are not touched by its end.

    Args:
        log_file: What it prints goes there; begun anew each time.
        learned: What it is to import beyond the specification, as far as it can.
        preload: Libraries for ``LD_PRELOAD``, on top of the environment.
        imported: Told now and then how many modules it has, as long as it imports.

    Raises:
        Unfit: From entering: it must not be forked with what it imported.
        ForkFailed: From entering: it cannot be started, or one of its modules cannot be imported.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    env = dict(spec.env) | {MARKER: BLANK} | ({"LD_PRELOAD": preload} if preload else {})
    with ours:
        with theirs:
            process = await _start(spec.python, theirs, env, log_file)
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


async def _start(python: str, link: socket.socket, env: Mapping[str, str], log_file: Path) -> Process:
    def open_log() -> int:
        return os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    try:
        output = await anyio.to_thread.run_sync(open_log)
        try:
            with anyio.CancelScope(shield=True):  # cancelled in its midst, a start would leave it behind
                process = await anyio.open_process(
                    [python, str(PROGRAM), str(link.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    cwd="/",
                    start_new_session=True,
                    pass_fds=(link.fileno(),),
                )
        finally:
            os.close(output)
    except OSError as error:
        raise ForkFailed(f"{python} cannot be started: {error.strerror or error}") from None
    return process


def _portions(names: Sequence[str], most: int = sys.maxsize) -> list[list[str]]:
    """Divide names over messages, of so many at most."""
    portions: list[list[str]] = []
    room = 0
    for name in names:
        if len(name) > room or len(portions[-1]) == most:
            portions.append([])
            room = MOST_TAUGHT
        portions[-1].append(name)
        room -= len(name) + 4
    return portions
