"""Runs one load from beginning to end, on uvloop, and lets ^C end it with what there is so far."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator

import uvloop
from attrs import frozen

from sllm_actors.descriptors import raise_limit

from .client.encoding import Encoding
from .client.target import Dialler, LoadTarget
from .figures.figures import Figures
from .figures.generator_load import GeneratorLoad
from .figures.result import RequestResult
from .generator import Generator, LoadPlan
from .work.request import LoadRequest

LOOK_SECONDS = 0.5
"""How often it is told how far the run is."""

SWITCH_SECONDS = 0.0002
"""How long the thread that shows and writes may keep the one that sends waiting; usual are 5 ms, which
would be seen in the latencies."""


@frozen
class LoadEnded:
    """How a run ended.

    Attributes:
        load: What the generator itself has done.
        interrupted: Whether ^C ended it.
        seconds: How long it took.
    """

    load: GeneratorLoad
    interrupted: bool
    seconds: float


def run_load(
    target: LoadTarget,
    plan: LoadPlan,
    encoding: Encoding,
    requests: Iterator[LoadRequest],
    figures: Figures,
    *,
    on_result: Callable[[RequestResult], None] | None = None,
    look: Callable[[Generator], None] | None = None,
) -> LoadEnded:
    """Send the load, and return when all requests have ended, or ^C was pressed.

    Args:
        target: Where the load goes.
        plan: How requests are sent.
        encoding: How they are written.
        requests: All of them, in the order of their times.
        figures: Is told each result.
        on_result: Is told it, too, if given; on the loop.
        look: Is called again and again while the run lasts, in a thread.

    Raises:
        OSError: The target's name cannot be looked up.
    """
    raise_limit()
    switching = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)

    async def run() -> LoadEnded:
        dialler = Dialler(target)
        await dialler.look_up()
        generator = Generator(plan, dialler, encoding, requests, figures, on_result)
        loop, interrupted = asyncio.get_running_loop(), False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            generator.stop()

        # A command that was started with SIGINT ignored, as a background job is, goes on ignoring it.
        heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        if heeded:
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(_look(generator, look)) if look is not None else None
                await generator.run()
                if looking is not None:
                    looking.cancel()
        finally:
            if heeded:
                loop.remove_signal_handler(signal.SIGINT)
        return LoadEnded(generator.load(), interrupted, generator.now)

    try:
        return uvloop.run(run())
    finally:
        sys.setswitchinterval(switching)


async def _look(generator: Generator, look: Callable[[Generator], None]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(look, generator)
