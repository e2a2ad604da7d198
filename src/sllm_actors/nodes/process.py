"""The process of a node: it reads its settings, and runs its role until it is told to stop.

It stops on SIGTERM, on SIGINT and SIGHUP unless it was started with these ignored, and when its standard
input ends: the launcher has the other end of that pipe, so no node outlives its launcher, however that ended.
If a node has not stopped within ``STOP_BUDGET``, its process ends all the same, and its engines with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import structlog

from sllm_actors.cluster.home import SetupProblem
from sllm_actors.descriptors import raise_limit
from sllm_actors.files import FileProblem
from sllm_actors.observe import terminal
from sllm_actors.observe.logs import configure_logs
from sllm_actors.observe.streams import open_standard_streams
from sllm_actors.observe.titles import set_title

from .garbage import keep_collections_short
from .membership import HeadMoved
from .settings import CONFIGURATION_EXIT, NodeSettings, read_settings
from .stop_signals import stop_on_hang_up, stop_signals
from .user_paths import complete_user

STOP_BUDGET = 8.5
"""Seconds from the signal to the end of the process. Leashes then end its engines within another second."""

_MAX_LINE = 1 << 20  # bytes

log = structlog.get_logger("sllm_actors.node")


def main() -> int:
    """Run the node that standard input describes; return the exit status.

    The status is 0 after a stop, 1 after a failure that a restart may mend, 2 without valid settings, and
    ``CONFIGURATION_EXIT`` where a restart would not help; then standard error says why, in one sentence.
    """
    open_standard_streams()
    raise_limit()
    try:
        role, settings = read_settings(_first_line())
    except ValueError as error:
        terminal.warn(f"error: {error}")
        return 2
    for descriptor in settings.inherited:
        os.set_inheritable(descriptor, False)  # they are no business of the programs that the node runs
    try:
        configure_logs(settings.log, node=settings.name)
    except OSError as error:
        terminal.warn(f"error: the log {settings.log} cannot be written: {error.strerror}")
        return CONFIGURATION_EXIT
    set_title(settings.process_title)
    complete_user(os.environ, settings.data_dir)
    try:
        anyio.run(_run, role, settings, backend="asyncio", backend_options={"use_uvloop": True})
    except BaseExceptionGroup as group:
        problem = _find_problem(group)
        if problem is None:
            log.exception("node.failed")
            return 1
        return _refuse(settings, problem)
    except (SetupProblem, FileProblem, HeadMoved) as problem:
        return _refuse(settings, problem)
    except Exception:
        log.exception("node.failed")
        return 1
    return 0


def _refuse(settings: NodeSettings, problem: BaseException) -> int:
    log.info("node.refused", reason=str(problem))
    if isinstance(problem, HeadMoved):
        return 1  # the launcher starts the node again, which then asks where the head is
    terminal.warn(f"error: {settings.name}: {problem}")
    return CONFIGURATION_EXIT


def _find_problem(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the one known problem in a group, or None when anything else is in it."""
    known, rest = group.split((SetupProblem, FileProblem, HeadMoved))
    if known is None or rest is not None:
        return None
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _run(role: str, settings: NodeSettings) -> None:
    stopping = anyio.Event()
    async with anyio.create_task_group() as watching:
        watching.start_soon(_watch_signals, stopping)
        watching.start_soon(_watch_launcher, stopping)
        watching.start_soon(_limit_stop, stopping)
        if role != "worker":
            watching.start_soon(keep_collections_short)
        log.info("node.starts", role=role, pid=os.getpid())
        await _role(role)(settings, stopping)
        log.info("node.stopped")
        watching.cancel_scope.cancel()


def _role(role: str) -> Callable[[Any, anyio.Event], Awaitable[None]]:
    """Return the function that runs a role. Only what that needs is imported: the node starts sooner."""
    match role:
        case "head":
            from .head import run_head

            return run_head
        case "worker":
            from .worker import run_worker

            return run_worker
        case "gateway":
            from .gateway import run_gateway

            return run_gateway
        case _:
            raise ValueError(f"there is no role {role!r}")


async def _watch_signals(stopping: anyio.Event) -> None:
    stop_on_hang_up(stopping.set)
    with anyio.open_signal_receiver(*stop_signals()) as signals:
        async for _ in signals:
            stopping.set()


async def _limit_stop(stopping: anyio.Event) -> None:
    """End the process after ``STOP_BUDGET``, by a thread: the event loop may hang by then."""
    await stopping.wait()
    timer = threading.Timer(STOP_BUDGET, _give_up)
    timer.daemon = True
    timer.start()


def _give_up() -> None:
    log.error("node.stop_given_up", seconds=STOP_BUDGET)
    terminal.flush()
    os._exit(1)


async def _watch_launcher(stopping: anyio.Event) -> None:
    while True:
        await anyio.wait_readable(0)
        if not os.read(0, 4096):
            stopping.set()
            return


def _first_line() -> bytes:
    """Read one line of standard input, and not a byte after it."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_LINE:
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return line
