"""``python -m bench.ours LOOP GROUP SCALE``: prints the figures of one group of measures as JSON lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import structlog

from bench.peers.protocol import SCALES

from . import far, local, population, remote


def main(loop: str, group: str, scale: str) -> None:
    """Run a group on an event loop: asyncio, uvloop or trio."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    groups: dict[str, Callable[[], Awaitable[None]]] = {
        "local": partial(local.run, SCALES[scale]),
        "population": partial(population.run, SCALES[scale]),
        "remote": partial(remote.run, loop, SCALES[scale]),
        "far": far.run,
    }
    anyio.run(
        groups[group],
        backend="trio" if loop == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if loop == "uvloop" else {},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
